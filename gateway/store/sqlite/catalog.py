"""Namespaces and scripts in SQLite."""

from __future__ import annotations

from typing import Final

import aiosqlite
import msgspec

from gateway.model.script import Namespace, Script, ScriptKey, Share
from gateway.store.sqlite.audit import note
from gateway.store.sqlite.connections import Connections, Row

COLUMNS: Final = (
    "namespace, name, tenant, version_id, created_ms, modified_ms, etag, tags, handlers, limits,"
    " split"
)
_json = msgspec.json.encode
_strings = msgspec.json.Decoder(tuple[str, ...])
shares = msgspec.json.Decoder(tuple[Share, ...])
_numbers = msgspec.json.Decoder(dict[str, int])


class SqliteCatalog:
    """Namespaces and scripts."""

    _db: Connections

    async def put_namespace(self, namespace: Namespace) -> None:
        """Create a namespace, or rename the one with the same id."""
        async with self._db.transaction() as connection:
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
        async with self._db.transaction() as connection:
            cursor = await connection.execute(
                "DELETE FROM namespaces WHERE name = ?1"
                " AND NOT EXISTS (SELECT 1 FROM scripts WHERE namespace = ?1)",
                (name,),
            )
            return cursor.rowcount > 0

    async def rename_namespace(self, name: str, new: str) -> bool:
        """Rename a namespace without scripts; False when it is absent or has some."""
        async with self._db.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE namespaces SET name = ?2 WHERE name = ?1"
                " AND NOT EXISTS (SELECT 1 FROM scripts WHERE namespace = ?1)",
                (name, new),
            )
            return cursor.rowcount > 0

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
        return _script(rows[0]) if rows else None

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
        return [_script(row) for row in rows]

    async def put_tags(self, key: ScriptKey, tags: tuple[str, ...]) -> Script | None:
        """Replace a script's tags; None when it is absent."""
        async with self._db.transaction() as connection:
            await connection.execute(
                "UPDATE scripts SET tags = ? WHERE namespace = ? AND name = ?",
                (_json(tags), *key),
            )
            script = await script_row(connection, key)
            if script is not None:
                await note(connection, key, script)
            return script

    async def delete_script(self, key: ScriptKey) -> bool:
        """Remove a script and its versions; False when it was absent."""
        async with self._db.transaction() as connection:
            await connection.execute(
                "DELETE FROM versions WHERE namespace = ? AND name = ?", tuple(key)
            )
            cursor = await connection.execute(
                "DELETE FROM scripts WHERE namespace = ? AND name = ?", tuple(key)
            )
            existed = cursor.rowcount > 0
            if existed:
                await note(connection, key, None)
            return existed


async def script_row(connection: aiosqlite.Connection, key: ScriptKey) -> Script | None:
    """A script as the open transaction sees it."""
    rows = await connection.execute_fetchall(
        f"SELECT {COLUMNS} FROM scripts WHERE namespace = ? AND name = ?",  # noqa: S608
        tuple(key),
    )
    return next((_script(tuple(row)) for row in rows), None)


def _script(row: Row) -> Script:
    namespace, name, tenant, version_id, created_ms, modified_ms = row[:6]
    etag, tags, handlers, limits, split = row[6:]
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
    )
