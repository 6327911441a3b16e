"""The default store: one SQLite file, off the event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from gateway.store.sealing import KeyFile, KeySource
from gateway.store.sqlite.accounts import SqliteAccounts
from gateway.store.sqlite.audit import SqliteAudit
from gateway.store.sqlite.bytecode import SqliteBytecode
from gateway.store.sqlite.catalog import SqliteCatalog
from gateway.store.sqlite.connections import Connections
from gateway.store.sqlite.kv import SqliteHostnames, SqliteKeyValues
from gateway.store.sqlite.migrate import SchemaError, migrate, shipped
from gateway.store.sqlite.secrets import SqliteSecrets
from gateway.store.sqlite.triggers import SqliteTriggers
from gateway.store.sqlite.versions import SqliteVersions

__all__ = ["SchemaError", "SqliteStore"]


KEY_FILE: Final = "secrets.key"
"""The key file beside the database, when no other is named."""


class SqliteStore(
    SqliteKeyValues,
    SqliteHostnames,
    SqliteCatalog,
    SqliteVersions,
    SqliteBytecode,
    SqliteTriggers,
    SqliteSecrets,
    SqliteAccounts,
    SqliteAudit,
):
    """Every aggregate of one node in the file at ``path``."""

    def __init__(self, path: str | Path, keys: KeySource | None = None) -> None:
        self._db = Connections(Path(path))
        self._rotating = asyncio.Lock()
        self._source = keys or KeyFile(Path(path).with_name(KEY_FILE))

    async def open(self) -> None:
        """Create the file when it is absent, migrate it, connect."""
        try:
            await self._db.open_writer()
            await migrate(self._db.writer, shipped())
            await self._open_keys()
            await self._db.open_readers()
        except BaseException:
            await self._db.close()
            raise

    async def close(self) -> None:
        """Disconnect."""
        await self._db.close()
