"""The audit log in SQLite: rows are added, and triggers keep them from being changed."""

from __future__ import annotations

from typing import Any, Final

import aiosqlite
import msgspec

from gateway.model.audit import INTENT, AuditEntry, AuditQuery
from gateway.model.script import Script, ScriptKey
from gateway.store.sqlite.connections import Connections

_entry = msgspec.json.Decoder(AuditEntry)
_FILTERS: Final = (
    ("tenant", "tenant = ?"),
    ("actor", "actor = ?"),
    ("action", "action = ?"),
    ("target", "target = ?"),
    ("before", "number < ?"),
)


class SqliteAudit:
    """Who changed what."""

    _db: Connections

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add an entry; on disk when it returns."""
        async with self._db.transaction() as connection:
            await _insert(connection, entry)

    async def list_audit(self, query: AuditQuery, *, limit: int = 100) -> list[AuditEntry]:
        """Entries, newest first."""
        wanted = [(sql, getattr(query, name)) for name, sql in _FILTERS]
        given: list[tuple[str, Any]] = [(sql, value) for sql, value in wanted if value is not None]
        where = "".join(f" AND {sql}" for sql, _ in given)
        rows = await self._db.read(
            f"SELECT number, document FROM audit WHERE at_ms >= ?{where}"  # noqa: S608
            " ORDER BY number DESC LIMIT ?",
            (query.since_ms, *(value for _, value in given), limit),
        )
        return [
            msgspec.structs.replace(_entry.decode(document), number=number)
            for number, document in rows
        ]


async def note(connection: aiosqlite.Connection, key: ScriptKey, script: Script | None) -> None:
    """Add the entry of the change that the open transaction makes, if one is due.

    ``script``: what it leaves behind; None: nothing.
    """
    intent = INTENT.get()
    if intent is None or intent.key != key or intent.noted:
        return
    await _insert(connection, intent.made(script))
    intent.noted = True


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
