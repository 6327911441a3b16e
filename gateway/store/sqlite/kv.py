"""The routing KV in SQLite."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import Any, Final

import aiosqlite
import msgspec

from gateway.model.audit import Kind, State
from gateway.store.sqlite.audit import Change, nothing, noting
from gateway.store.sqlite.connections import Connections

BATCH: Final = 2000
"""Rows handed to the writer's thread at once by ``put_many``."""
AFTER_ALL: Final = "\U0010ffff"
"""Sorts after every character, so that prefix + this ends the range of the prefix."""

_PUT: Final = (
    "INSERT INTO kv (key, value) VALUES (?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
HOSTNAMES: Final = "key >= 'hostname:' AND key < 'hostname;'"
"""Spelled as in the index kv_hostnames_by_tenant, or SQLite does not see that it applies."""
TENANT_OF_VALUE: Final = (
    "CASE WHEN json_valid(CAST(value AS TEXT))"
    " THEN json_extract(CAST(value AS TEXT), '$.tenant') END"
)


class SqliteKeyValues:
    """Ordered string keys, small byte values."""

    _db: Connections

    async def get(self, key: str) -> bytes | None:
        """Value of ``key``, None when absent."""
        rows = await self._db.read("SELECT value FROM kv WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    async def put(self, key: str, value: bytes) -> None:
        """Set ``key``; on disk when it returns."""
        async with self._db.transaction() as connection, _noting(connection, key):
            await connection.execute(_PUT, (key, value))

    async def put_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Set many keys in one transaction. ``items`` is consumed in batches, never held whole."""
        rows = iter(items)
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.HOSTNAMES, "", nothing),
        ):
            while batch := list(islice(rows, BATCH)):
                await connection.executemany(_PUT, batch)

    async def delete(self, key: str) -> bool:
        """Remove ``key``; False when it was absent."""
        async with self._db.transaction() as connection, _noting(connection, key) as change:
            cursor = await connection.execute("DELETE FROM kv WHERE key = ?", (key,))
            change.made = cursor.rowcount > 0
            return change.made

    async def list(
        self, prefix: str, *, after: str = "", limit: int = 100
    ) -> list[tuple[str, bytes]]:
        """Keys that start with ``prefix`` and sort after ``after``, in order."""
        rows = await self._db.read(
            "SELECT key, value FROM kv WHERE key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?",
            (prefix, prefix + AFTER_ALL, after, limit),
        )
        return [(key, value) for key, value in rows]


def _noting(connection: aiosqlite.Connection, key: str) -> AbstractAsyncContextManager[Change]:
    """Add the entry of a change of a hostname to the transaction that makes it."""
    prefix = key.partition(":")[0]
    hostname = key.rpartition(":")[2] if prefix in ("hostname", "claim") else ""

    async def read(connection: aiosqlite.Connection) -> State:
        rows = await connection.execute_fetchall("SELECT value FROM kv WHERE key = ?", (key,))
        return next((_hostname_state(prefix, hostname, row[0]) for row in rows), None)

    return noting(connection, Kind.HOSTNAME, hostname, read)


def _hostname_state(prefix: str, hostname: str, value: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        record = {}
    stored = record if isinstance(record, dict) else {}
    return {
        "hostname": hostname,
        "script": stored.get("workerName"),
        "namespace": stored.get("namespace"),
        "tenant": stored.get("tenant"),
        "status": "pending" if prefix == "claim" else "active",
    }


class SqliteHostnames:
    """The hostname records of the routing KV, by tenant."""

    _db: Connections

    async def list_hostnames(
        self, tenant: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[tuple[str, bytes]]:
        """Hostname records of one tenant, as ``(hostname, value)`` in order."""
        start = f"hostname:{prefix}"
        rows = await self._db.read(
            f"SELECT key, value FROM kv WHERE {TENANT_OF_VALUE} = ? AND {HOSTNAMES}"  # noqa: S608
            " AND key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?",
            (tenant, start, start + AFTER_ALL, f"hostname:{after}", limit),
        )
        return [(key.removeprefix("hostname:"), value) for key, value in rows]
