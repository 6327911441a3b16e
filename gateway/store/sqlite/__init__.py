"""The default store: one SQLite file, off the event loop."""

from __future__ import annotations

from pathlib import Path

from gateway.store.sqlite.accounts import SqliteAccounts
from gateway.store.sqlite.catalog import SqliteCatalog
from gateway.store.sqlite.connections import Connections
from gateway.store.sqlite.kv import SqliteHostnames, SqliteKeyValues
from gateway.store.sqlite.migrate import SchemaError, migrate, shipped
from gateway.store.sqlite.versions import SqliteVersions

__all__ = ["SchemaError", "SqliteStore"]


class SqliteStore(SqliteKeyValues, SqliteHostnames, SqliteCatalog, SqliteVersions, SqliteAccounts):
    """Every aggregate of one node in the file at ``path``."""

    def __init__(self, path: str | Path) -> None:
        self._db = Connections(Path(path))

    async def open(self) -> None:
        """Create the file when it is absent, migrate it, connect."""
        try:
            await self._db.open_writer()
            await migrate(self._db.writer, shipped())
            await self._db.open_readers()
        except BaseException:
            await self._db.close()
            raise

    async def close(self) -> None:
        """Disconnect."""
        await self._db.close()
