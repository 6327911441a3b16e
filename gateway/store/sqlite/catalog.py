"""Namespaces, scripts and versions in SQLite."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

import msgspec

from gateway.model.script import Module, Namespace, Script, ScriptKey, Version
from gateway.store.sqlite.connections import Connections, Row

KEEP_VERSIONS: Final = 20
"""Versions kept of one script, so that redeploying cannot fill the disk."""
_COMPRESSION: Final = 3
_COLUMNS: Final = (
    "namespace, name, tenant, version_id, created_ms, modified_ms, etag, tags, handlers, limits"
)
_json = msgspec.json.encode
_strings = msgspec.json.Decoder(tuple[str, ...])
_numbers = msgspec.json.Decoder(dict[str, int])
_version = msgspec.json.Decoder(Version)


class SqliteCatalog:
    """Namespaces, scripts and their versions."""

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

    async def count_scripts(self, namespace: str) -> int:
        """Number of scripts in a namespace."""
        rows = await self._db.read("SELECT count(*) FROM scripts WHERE namespace = ?", (namespace,))
        return int(rows[0][0])

    async def get_script(self, key: ScriptKey) -> Script | None:
        """What the resolver needs of a script, without its code."""
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM scripts WHERE namespace = ? AND name = ?",  # noqa: S608
            key,
        )
        return _script(rows[0]) if rows else None

    async def list_scripts(
        self, namespace: str, *, tenant: str | None = None, after: str = "", limit: int = 100
    ) -> list[Script]:
        """Scripts of a namespace in order of name, of one tenant when given."""
        owned, owner = (" AND tenant = ?", (tenant,)) if tenant is not None else ("", ())
        rows = await self._db.read(
            f"SELECT {_COLUMNS} FROM scripts WHERE namespace = ? AND name > ?{owned}"  # noqa: S608
            " ORDER BY name LIMIT ?",
            (namespace, after, *owner, limit),
        )
        return [_script(row) for row in rows]

    async def put_version(self, version: Version) -> Script:
        """Store a version and make it the serving one; the oldest beyond twenty go."""
        contents = await asyncio.to_thread(_pack, version.modules)
        namespace, name = version.key
        async with self._db.transaction() as connection:
            await connection.execute(
                "INSERT INTO versions (id, namespace, name, created_ms, document)"
                " VALUES (?, ?, ?, ?, ?)",
                (version.id, namespace, name, version.created_ms, _document(version)),
            )
            await connection.executemany(
                "INSERT INTO modules (version_id, position, content) VALUES (?, ?, ?)",
                [(version.id, position, content) for position, content in enumerate(contents)],
            )
            await connection.execute(_UPSERT_SCRIPT, _script_row(version))
            await connection.execute(
                "DELETE FROM versions WHERE id IN (SELECT id FROM versions WHERE namespace = ?"
                " AND name = ? ORDER BY created_ms DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (namespace, name, KEEP_VERSIONS),
            )
            rows = await connection.execute_fetchall(
                f"SELECT {_COLUMNS} FROM scripts WHERE namespace = ? AND name = ?",  # noqa: S608
                (namespace, name),
            )
            return _script(next(tuple(row) for row in rows))

    async def get_version(self, version_id: str) -> Version | None:
        """A version with its code and bindings."""
        documents = await self._db.read("SELECT document FROM versions WHERE id = ?", (version_id,))
        if not documents:
            return None
        version = _version.decode(documents[0][0])
        rows = await self._db.read(
            "SELECT content FROM modules WHERE version_id = ? ORDER BY position", (version_id,)
        )
        if len(rows) != len(version.modules):  # removed between the two reads
            return None
        modules = await asyncio.to_thread(_unpack, version.modules, rows)
        return msgspec.structs.replace(version, modules=modules)

    async def delete_script(self, key: ScriptKey) -> bool:
        """Remove a script and its versions; False when it was absent."""
        async with self._db.transaction() as connection:
            await connection.execute(
                "DELETE FROM versions WHERE namespace = ? AND name = ?", tuple(key)
            )
            cursor = await connection.execute(
                "DELETE FROM scripts WHERE namespace = ? AND name = ?", tuple(key)
            )
            return cursor.rowcount > 0


_UPSERT_SCRIPT: Final = (
    f"INSERT INTO scripts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (namespace, name) DO UPDATE SET tenant = excluded.tenant,"
    " version_id = excluded.version_id, modified_ms = excluded.modified_ms,"
    " etag = excluded.etag, tags = excluded.tags, handlers = excluded.handlers,"
    " limits = excluded.limits"
)


def _script_row(version: Version) -> Row:
    return (
        *version.key,
        version.tenant,
        version.id,
        version.created_ms,
        version.created_ms,
        version.etag,
        _json(version.tags),
        _json(version.handlers),
        _json(version.limits),
    )


def _script(row: Row) -> Script:
    namespace, name, tenant, version_id, created_ms, modified_ms, etag, tags, handlers, limits = row
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
    )


def _document(version: Version) -> bytes:
    empty = tuple(msgspec.structs.replace(module, content=b"") for module in version.modules)
    return _json(msgspec.structs.replace(version, modules=empty))


def _pack(modules: tuple[Module, ...]) -> list[bytes]:
    return [zlib.compress(module.content, _COMPRESSION) for module in modules]


def _unpack(modules: tuple[Module, ...], rows: list[Row]) -> tuple[Module, ...]:
    return tuple(
        msgspec.structs.replace(module, content=zlib.decompress(content))
        for module, (content,) in zip(modules, rows, strict=True)
    )
