"""Versions and deployments in SQLite."""

from __future__ import annotations

import asyncio
import uuid
import zlib
from typing import Final

import aiosqlite
import msgspec

from gateway.model.script import Deployment, Module, Script, ScriptKey, Version
from gateway.store.sealing import Keyring, KeySource, Sealed
from gateway.store.sqlite.catalog import COLUMNS, noting_script, script_row, shares
from gateway.store.sqlite.connections import Connections, Row
from gateway.store.sqlite.secrets import seal, with_secrets, without_secrets

KEEP_VERSIONS: Final = 20
"""Versions kept of one script, the serving one among them: redeploying cannot fill the disk."""
KEEP_DEPLOYMENTS: Final = 50
_COMPRESSION: Final = 3
_json = msgspec.json.encode
_version = msgspec.json.Decoder(Version)


class SqliteVersions:
    """A script's versions, and which of them served when."""

    _db: Connections
    _ring: Keyring
    _source: KeySource

    async def put_version(self, version: Version) -> Script:
        """Store a version and make it the serving one; the oldest beyond twenty go."""
        contents = await asyncio.to_thread(_pack, version.modules)
        deployment = Deployment(
            id=str(uuid.uuid4()),
            key=version.key,
            version_id=version.id,
            created_ms=version.created_ms,
            triggered_by=version.triggered_by,
            message=version.message,
        )
        async with (
            self._db.transaction() as connection,
            noting_script(connection, version.key),
        ):
            await self._insert(connection, version, contents)
            await connection.execute(_UPSERT_SCRIPT, _script_row(version))
            await _record(connection, deployment)
            await _prune(connection, version.key)
            script = await script_row(connection, version.key)
        if script is None:
            raise RuntimeError("a script that was just stored is not there")
        return script

    async def add_version(self, version: Version) -> Version:
        """Store a version that does not serve; returns it with its number."""
        contents = await asyncio.to_thread(_pack, version.modules)
        async with (
            self._db.transaction() as connection,
            noting_script(connection, version.key) as change,
        ):
            change.detail["version"] = version.id
            number = await self._insert(connection, version, contents)
            await _prune(connection, version.key)
        return msgspec.structs.replace(version, number=number)

    async def get_version(self, version_id: str) -> Version | None:
        """A version with its code and bindings."""
        documents = await self._db.read(
            "SELECT document, number, key_id, sealed FROM versions WHERE id = ?", (version_id,)
        )
        if not documents:
            return None
        version = self._open(documents[0])
        rows = await self._db.read(
            "SELECT content FROM modules WHERE version_id = ? ORDER BY position", (version_id,)
        )
        if len(rows) != len(version.modules):  # removed between the two reads
            return None
        modules = await asyncio.to_thread(_unpack, version.modules, rows)
        return msgspec.structs.replace(version, modules=modules)

    async def list_versions(self, key: ScriptKey) -> list[Version]:
        """Versions of a script that are kept, newest first, without the content of modules."""
        rows = await self._db.read(
            "SELECT document, number, key_id, sealed FROM versions"
            " WHERE namespace = ? AND name = ? ORDER BY number DESC",
            key,
        )
        return [self._open(row) for row in rows]

    async def serve_version(self, deployment: Deployment) -> Script | None:
        """Make a stored version serve, the script's tags staying; None when there is none."""
        async with (
            self._db.transaction() as connection,
            noting_script(connection, deployment.key) as change,
        ):
            rows = await connection.execute_fetchall(
                "SELECT document, number FROM versions WHERE id = ? AND namespace = ? AND name = ?",
                (deployment.version_id, *deployment.key),
            )
            version = next((_decode(tuple(row)) for row in rows), None)
            if version is None or not await _all_stored(connection, deployment):
                change.made = False
                return None
            await connection.execute(
                "UPDATE scripts SET version_id = ?, etag = ?, handlers = ?, limits = ?,"
                " split = ?, modified_ms = ? WHERE namespace = ? AND name = ?",
                (
                    version.id,
                    version.etag,
                    _json(version.handlers),
                    _json(version.limits),
                    _json(deployment.split),
                    deployment.created_ms,
                    *deployment.key,
                ),
            )
            await _record(connection, deployment)
            return await script_row(connection, deployment.key)

    async def list_deployments(self, key: ScriptKey) -> list[Deployment]:
        """Deployments of versions that are kept, newest first."""
        rows = await self._db.read(
            "SELECT id, version_id, created_ms, triggered_by, message, split FROM deployments"
            " WHERE namespace = ? AND name = ? ORDER BY number DESC",
            key,
        )
        return [
            Deployment(
                id=deployment_id,
                key=key,
                version_id=version_id,
                created_ms=created_ms,
                triggered_by=triggered_by,
                message=message,
                split=shares.decode(split),
            )
            for deployment_id, version_id, created_ms, triggered_by, message, split in rows
        ]

    async def _insert(
        self, connection: aiosqlite.Connection, version: Version, contents: list[bytes]
    ) -> int:
        """Store a version under the script's next number, its secrets sealed."""
        sealed = seal(self._ring, version)
        rows = await connection.execute_fetchall(
            "INSERT INTO versions (id, namespace, name, created_ms, document, number, key_id,"
            " sealed) SELECT :id, :namespace, :name, :created_ms, :document,"
            " COALESCE(MAX(number), 0) + 1, :key_id, :sealed"
            " FROM versions WHERE namespace = :namespace AND name = :name RETURNING number",
            {
                "id": version.id,
                **version.key._asdict(),
                "created_ms": version.created_ms,
                "document": _document(version),
                "key_id": sealed.key_id,
                "sealed": sealed.blob,
            },
        )
        await connection.executemany(
            "INSERT INTO modules (version_id, position, content) VALUES (?, ?, ?)",
            [(version.id, position, content) for position, content in enumerate(contents)],
        )
        return int(next(row[0] for row in rows))

    def _open(self, row: Row) -> Version:
        """The version of a row, with its secrets."""
        sealed = Sealed(*row[2:])
        if sealed.key_id and sealed.key_id not in self._ring.ids:
            # The node that follows this one, or went before, has rotated the keys.
            self._ring = self._source.load(create=False)
        return with_secrets(self._ring, _decode(row[:2]), sealed)


_UPSERT_SCRIPT: Final = (
    f"INSERT INTO scripts ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"  # noqa: S608
    " '[]', 1, '[]')"
    " ON CONFLICT (namespace, name) DO UPDATE SET tenant = excluded.tenant,"
    " version_id = excluded.version_id, modified_ms = excluded.modified_ms,"
    " etag = excluded.etag, tags = excluded.tags, handlers = excluded.handlers,"
    " limits = excluded.limits, split = excluded.split"
)


async def _record(connection: aiosqlite.Connection, deployment: Deployment) -> None:
    await connection.execute(
        "INSERT INTO deployments (id, namespace, name, version_id, created_ms, triggered_by,"
        " message, split) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            deployment.id,
            *deployment.key,
            deployment.version_id,
            deployment.created_ms,
            deployment.triggered_by,
            deployment.message,
            _json(deployment.split),
        ),
    )
    await connection.execute(
        "DELETE FROM deployments WHERE number IN (SELECT number FROM deployments"
        " WHERE namespace = ? AND name = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
        (*deployment.key, KEEP_DEPLOYMENTS),
    )


async def _all_stored(connection: aiosqlite.Connection, deployment: Deployment) -> bool:
    for share in deployment.split:
        rows = await connection.execute_fetchall(
            "SELECT 1 FROM versions WHERE id = ? AND namespace = ? AND name = ?",
            (share.version_id, *deployment.key),
        )
        if not list(rows):
            return False
    return True


async def _prune(connection: aiosqlite.Connection, key: ScriptKey) -> None:
    """Remove the oldest versions, never one that serves."""
    await connection.execute(
        "DELETE FROM versions WHERE id IN (SELECT id FROM versions WHERE namespace = :namespace"
        " AND name = :name AND id NOT IN (SELECT version_id FROM scripts"
        " WHERE namespace = :namespace AND name = :name)"
        " AND id NOT IN (SELECT json_extract(share.value, '$.version_id')"
        " FROM scripts, json_each(scripts.split) AS share"
        " WHERE namespace = :namespace AND name = :name)"
        " ORDER BY number DESC LIMIT -1 OFFSET :kept)",
        {**key._asdict(), "kept": KEEP_VERSIONS - 1},
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


def _decode(row: Row) -> Version:
    document, number = row
    return msgspec.structs.replace(_version.decode(document), number=number)


def _document(version: Version) -> bytes:
    empty = tuple(msgspec.structs.replace(module, content=b"") for module in version.modules)
    return _json(without_secrets(msgspec.structs.replace(version, modules=empty)))


def _pack(modules: tuple[Module, ...]) -> list[bytes]:
    return [zlib.compress(module.content, _COMPRESSION) for module in modules]


def _unpack(modules: tuple[Module, ...], rows: list[Row]) -> tuple[Module, ...]:
    return tuple(
        msgspec.structs.replace(module, content=zlib.decompress(content))
        for module, (content,) in zip(modules, rows, strict=True)
    )
