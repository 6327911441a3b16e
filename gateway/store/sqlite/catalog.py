"""Namespaces and scripts in SQLite."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

import aiosqlite
import msgspec

from gateway.model.audit import Kind, State, namespace_state, script_state
from gateway.model.script import Cron, Namespace, Script, ScriptKey, Share
from gateway.store.sqlite.audit import Change, Read, noting
from gateway.store.sqlite.connections import Connections, Row

COLUMNS: Final = (
    "namespace, name, tenant, version_id, created_ms, modified_ms, etag, tags, handlers, limits,"
    " split, previews, crons"
)
_json = msgspec.json.encode
_strings = msgspec.json.Decoder(tuple[str, ...])
shares = msgspec.json.Decoder(tuple[Share, ...])
_numbers = msgspec.json.Decoder(dict[str, int])
_crons = msgspec.json.Decoder(tuple[Cron, ...])


class SqliteCatalog:
    """Namespaces and scripts."""

    _db: Connections

    async def put_namespace(self, namespace: Namespace) -> None:
        """Create a namespace, or rename the one with the same id."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.NAMESPACE, namespace.name, _namespace_by(namespace.name)),
        ):
            await connection.execute(
                "INSERT INTO namespaces (id, name, created_ms) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                (namespace.id, namespace.name, namespace.created_ms),
            )

    async def get_namespace(self, name: str) -> Namespace | None:
        """A namespace by name."""
        rows = await self._db.read(
            "SELECT id, name, created_ms FROM namespaces WHERE name = ?", (name,)
        )
        return Namespace(*rows[0]) if rows else None

    async def list_namespaces(self) -> list[Namespace]:
        """All namespaces, by name."""
        rows = await self._db.read("SELECT id, name, created_ms FROM namespaces ORDER BY name")
        return [Namespace(*row) for row in rows]

    async def delete_namespace(self, name: str) -> bool:
        """Remove a namespace without scripts; False when it is absent or has some."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.NAMESPACE, name, _namespace_by(name)) as change,
        ):
            cursor = await connection.execute(
                "DELETE FROM namespaces WHERE name = :name"
                " AND NOT EXISTS (SELECT 1 FROM scripts WHERE namespace = :name)",
                {"name": name},
            )
            change.made = cursor.rowcount > 0
            return change.made

    async def rename_namespace(self, name: str, new: str) -> bool:
        """Rename a namespace without scripts; False when it is absent or has some."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.NAMESPACE, name, _namespace_by(name, new)) as change,
        ):
            cursor = await connection.execute(
                "UPDATE namespaces SET name = :new WHERE name = :name"
                " AND NOT EXISTS (SELECT 1 FROM scripts WHERE namespace = :name)",
                {"name": name, "new": new},
            )
            change.made = cursor.rowcount > 0
            return change.made

    async def count_scripts(self, namespace: str) -> int:
        """Number of scripts in a namespace."""
        rows = await self._db.read("SELECT count(*) FROM scripts WHERE namespace = ?", (namespace,))
        return int(rows[0][0])

    async def get_script(self, key: ScriptKey) -> Script | None:
        """What the resolver needs of a script, without its code."""
        rows = await self._db.read(
            f"SELECT {COLUMNS} FROM scripts WHERE namespace = ? AND name = ?",  # noqa: S608
            key,
        )
        return to_script(rows[0]) if rows else None

    async def list_scripts(
        self, namespace: str, *, tenant: str | None = None, after: str = "", limit: int = 100
    ) -> list[Script]:
        """Scripts of a namespace in order of name, of one tenant when given."""
        owned, owner = (" AND tenant = ?", (tenant,)) if tenant is not None else ("", ())
        rows = await self._db.read(
            f"SELECT {COLUMNS} FROM scripts WHERE namespace = ? AND name > ?{owned}"  # noqa: S608
            " ORDER BY name LIMIT ?",
            (namespace, after, *owner, limit),
        )
        return [to_script(row) for row in rows]

    async def put_tags(self, key: ScriptKey, tags: tuple[str, ...]) -> Script | None:
        """Replace a script's tags; None when it is absent."""
        async with self._db.transaction() as connection, noting_script(connection, key) as change:
            await connection.execute(
                "UPDATE scripts SET tags = ? WHERE namespace = ? AND name = ?",
                (_json(tags), *key),
            )
            script = await script_row(connection, key)
            change.made = script is not None
            return script

    async def delete_script(self, key: ScriptKey) -> bool:
        """Remove a script and its versions; False when it was absent."""
        async with self._db.transaction() as connection, noting_script(connection, key) as change:
            await connection.execute(
                "DELETE FROM versions WHERE namespace = ? AND name = ?", tuple(key)
            )
            cursor = await connection.execute(
                "DELETE FROM scripts WHERE namespace = ? AND name = ?", tuple(key)
            )
            change.made = cursor.rowcount > 0
            return change.made


def noting_script(
    connection: aiosqlite.Connection, key: ScriptKey
) -> AbstractAsyncContextManager[Change]:
    """Add the entry of a change of a script to the transaction that makes it."""

    async def read(connection: aiosqlite.Connection) -> State:
        script = await script_row(connection, key)
        return None if script is None else script_state(script)

    return noting(connection, Kind.SCRIPT, "/".join(key), read)


def _namespace_by(*names: str) -> Read:
    """Tells of the namespace that has one of these names."""

    async def read(connection: aiosqlite.Connection) -> State:
        for name in names:
            rows = await connection.execute_fetchall(
                "SELECT id, name, created_ms FROM namespaces WHERE name = ?", (name,)
            )
            for row in rows:
                return namespace_state(Namespace(*row))
        return None

    return read


async def script_row(connection: aiosqlite.Connection, key: ScriptKey) -> Script | None:
    """A script as the open transaction sees it."""
    rows = await connection.execute_fetchall(
        f"SELECT {COLUMNS} FROM scripts WHERE namespace = ? AND name = ?",  # noqa: S608
        tuple(key),
    )
    return next((to_script(tuple(row)) for row in rows), None)


def to_script(row: Row) -> Script:
    """A row of ``COLUMNS``."""
    namespace, name, tenant, version_id, created_ms, modified_ms = row[:6]
    etag, tags, handlers, limits, split, previews, crons = row[6:]
    return Script(
        key=ScriptKey(namespace, name),
        tenant=tenant,
        version_id=version_id,
        created_ms=created_ms,
        modified_ms=modified_ms,
        etag=etag,
        tags=_strings.decode(tags),
        handlers=_strings.decode(handlers),
        limits=_numbers.decode(limits),
        split=shares.decode(split),
        previews=bool(previews),
        crons=_crons.decode(crons),
    )
