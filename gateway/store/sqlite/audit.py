"""The audit log in SQLite: rows are added, and triggers keep them from being changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiosqlite
import msgspec

from gateway.model.audit import INTENT, AuditEntry, AuditQuery, Kind, State
from gateway.store.sqlite.connections import Connections

Read = Callable[[aiosqlite.Connection], Awaitable[State]]
_entry = msgspec.json.Decoder(AuditEntry)
_FILTERS: Final = (
    ("tenant", "tenant = ?"),
    ("actor", "actor = ?"),
    ("action", "action = ?"),
    ("target", "target = ?"),
    ("until_ms", "at_ms < ?"),
    ("before", "number < ?"),
    ("after", "number > ?"),
)
PRUNE_ROWS: Final = 2000
"""Entries removed in one transaction, so that nobody waits long for the writer."""


class SqliteAudit:
    """Who changed what."""

    _db: Connections

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add an entry; on disk when it returns."""
        async with self._db.transaction() as connection:
            await _insert(connection, entry)

    async def list_audit(self, query: AuditQuery, *, limit: int = 100) -> list[AuditEntry]:
        """Entries, newest first; with ``after`` oldest first."""
        wanted = [(sql, getattr(query, name)) for name, sql in _FILTERS]
        given: list[tuple[str, Any]] = [(sql, value) for sql, value in wanted if value is not None]
        where = "".join(f" AND {sql}" for sql, _ in given)
        order = "DESC" if query.after is None else "ASC"
        rows = await self._db.read(
            f"SELECT number, document FROM audit WHERE at_ms >= ?{where}"  # noqa: S608
            f" ORDER BY number {order} LIMIT ?",
            (query.since_ms, *(value for _, value in given), limit),
        )
        return [
            msgspec.structs.replace(_entry.decode(document), number=number)
            for number, document in rows
        ]

    async def prune_audit(self, before_ms: int, entry: AuditEntry) -> int:
        """Remove the oldest entries from before a moment, and add ``entry`` with their number.

        A part of them at a time: ask again until nothing is removed.
        """
        # They are numbered as they were made: the first one says whether there is any.
        rows = await self._db.read("SELECT number, at_ms FROM audit ORDER BY number LIMIT 1")
        if not rows or rows[0][1] >= before_ms:
            return 0
        async with self._db.transaction() as connection:
            await connection.execute(
                "UPDATE audit_kept SET since_ms = max(since_ms, ?)", (before_ms,)
            )
            cursor = await connection.execute(
                "DELETE FROM audit WHERE number < ? AND at_ms < ?",
                (rows[0][0] + PRUNE_ROWS, before_ms),
            )
            if cursor.rowcount:
                detail = entry.detail | {"removed": cursor.rowcount}
                await _insert(connection, msgspec.structs.replace(entry, detail=detail))
            return cursor.rowcount


class Change:
    """A change that the open transaction makes."""

    __slots__ = ("detail", "made")

    def __init__(self) -> None:
        self.made = True
        """Whether there was anything to change."""
        self.detail: dict[str, Any] = {}
        """What else is to be told of it."""


@asynccontextmanager
async def noting(
    connection: aiosqlite.Connection, kind: Kind, name: str, read: Read
) -> AsyncIterator[Change]:
    """Add the entry of the change made inside to its transaction, if one is due.

    ``read`` tells the state of what is changed as the transaction sees it, without any secret.
    """
    intent, change = INTENT.get(), Change()
    if intent is None or not intent.awaits(kind, name):
        yield change
        return
    before = await read(connection)
    yield change
    if not change.made:
        return
    entry = intent.made(name, before, await read(connection))
    await _insert(connection, msgspec.structs.replace(entry, detail=entry.detail | change.detail))
    intent.noted = True


async def nothing(_: aiosqlite.Connection) -> State:
    """No state, of changes that have none."""
    return None


async def _insert(connection: aiosqlite.Connection, entry: AuditEntry) -> None:
    await connection.execute(
        "INSERT INTO audit (at_ms, tenant, actor, action, target, document)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            entry.at_ms,
            entry.tenant,
            entry.actor,
            entry.action,
            entry.target,
            msgspec.json.encode(entry),
        ),
    )
