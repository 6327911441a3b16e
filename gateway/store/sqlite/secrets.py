"""Secrets of versions, sealed apart from the document that describes the version."""

from __future__ import annotations

import asyncio
from typing import Final

import aiosqlite
import msgspec

from gateway.model.audit import Kind
from gateway.model.script import Version
from gateway.store.base import KeyUse
from gateway.store.sealing import Keyring, KeySource, KeyTrouble, Sealed
from gateway.store.sqlite.audit import nothing, noting
from gateway.store.sqlite.connections import Connections
from gateway.store.sqlite.tokens import open_key, seal_key_again

SECRET: Final = "secret_text"  # noqa: S105
_BATCH: Final = 200
_texts = msgspec.json.Decoder(dict[str, str])
_version = msgspec.json.Decoder(Version)
_json = msgspec.json.encode


class SqliteSecrets:
    """The keys of this store, and what is sealed with them."""

    _db: Connections
    _source: KeySource
    _ring: Keyring
    _rotating: asyncio.Lock
    _token_key: bytes

    async def list_keys(self) -> list[KeyUse]:
        """The keys that are in use, the current one first."""
        rows = await self._db.read("SELECT key_id, count(*) FROM versions GROUP BY key_id")
        counts: dict[str | None, int] = dict(rows)
        return [
            KeyUse(key, counts.get(key, 0), key == self._ring.current) for key in self._ring.ids
        ]

    async def rotate_keys(self) -> int:
        """Seal every version's secrets again, under a new key where the node makes its own.

        Interrupted at any point, everything still opens; the next rotation ends the work.
        """
        async with self._rotating:
            # Told before the key's file is touched: no key is ever new without an entry.
            async with (
                self._db.transaction() as connection,
                noting(connection, Kind.KEYS, "", nothing),
            ):
                pass
            async with self._db.transaction():
                # Whoever stores a version seals it while holding the writer: with this key then.
                self._ring = await asyncio.to_thread(self._source.begin_rotation, self._ring)
            count = await self._seal_again()
            await asyncio.to_thread(self._source.end_rotation, self._ring)
        return count

    async def _open_keys(self) -> None:
        """Load the keys and seal what an older schema left in clear. Raises KeyTrouble."""
        rows = await self._db.writer.execute_fetchall(
            "SELECT key_id FROM versions WHERE key_id > '' UNION SELECT key_id FROM token_key"
        )
        used = {str(row[0]) for row in rows}
        self._ring = self._source.load(create=not used)
        lost = used.difference(self._ring.ids)
        if lost:
            raise KeyTrouble(
                f"secrets in the database were sealed with a key that is missing ({min(lost)}):"
                " bring the key file back from your backup, or list the key as well"
            )
        async with self._db.transaction() as connection:
            self._token_key, followed = await open_key(connection, self._ring)
        if await self._seal_clear() or followed:
            # What was in clear is not to be found in free pages or the log either.
            await self._db.writer.execute_fetchall("VACUUM")
            await self._db.writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _seal_clear(self) -> int:
        count = 0
        while True:
            async with self._db.transaction() as connection:
                rows = list(
                    await connection.execute_fetchall(
                        "SELECT id, document FROM versions WHERE key_id IS NULL LIMIT ?", (_BATCH,)
                    )
                )
                for version_id, document in rows:
                    version = _version.decode(document)
                    sealed = seal(self._ring, version)
                    count += bool(sealed.key_id)
                    await connection.execute(
                        "UPDATE versions SET document = ?, sealed = ?, key_id = ? WHERE id = ?",
                        (_json(without_secrets(version)), sealed.blob, sealed.key_id, version_id),
                    )
            if len(rows) < _BATCH:
                return count

    async def _seal_again(self) -> int:
        count = 0
        async with self._db.transaction() as connection:
            await seal_key_again(connection, self._ring)
        while True:
            async with self._db.transaction() as connection:
                changed = await _seal_batch(connection, self._ring)
            count += changed
            if changed < _BATCH:
                return count


async def _seal_batch(connection: aiosqlite.Connection, ring: Keyring) -> int:
    rows = list(
        await connection.execute_fetchall(
            "SELECT id, key_id, sealed FROM versions WHERE key_id > '' AND key_id <> ? LIMIT ?",
            (ring.current, _BATCH),
        )
    )
    for version_id, key, blob in rows:
        text = ring.unseal(Sealed(key, blob), belongs_to(version_id))
        sealed = ring.seal(text, belongs_to(version_id))
        await connection.execute(
            "UPDATE versions SET sealed = ?, key_id = ? WHERE id = ?",
            (sealed.blob, sealed.key_id, version_id),
        )
    return len(rows)


def seal(ring: Keyring, version: Version) -> Sealed:
    """A version's secrets, sealed; with an empty key id when it has none."""
    texts = {item.name: item.text for item in version.bindings if item.type == SECRET}
    if not texts:
        return Sealed("", b"")
    return ring.seal(_json(texts), belongs_to(version.id))


def without_secrets(version: Version) -> Version:
    """The version with its secrets' names only."""
    return msgspec.structs.replace(
        version,
        bindings=tuple(
            msgspec.structs.replace(item, text=None) if item.type == SECRET else item
            for item in version.bindings
        ),
    )


def with_secrets(ring: Keyring, version: Version, sealed: Sealed) -> Version:
    """The version with its secrets opened."""
    if not sealed.key_id:
        return version
    texts = _texts.decode(ring.unseal(sealed, belongs_to(version.id)))
    return msgspec.structs.replace(
        version,
        bindings=tuple(
            msgspec.structs.replace(item, text=texts[item.name]) if item.type == SECRET else item
            for item in version.bindings
        ),
    )


def belongs_to(version_id: str) -> str:
    """What sealed secrets are bound to."""
    return f"version {version_id}"
