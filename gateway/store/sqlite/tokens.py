"""The key that tokens are hashed with: a copy of the database alone is good for no guess at one.

A token is 256 random bits, which nobody guesses; but the operator's first one may be a word of the
operator's own choice. The key is sealed as tenants' secrets are, and stays when those keys rotate.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

import aiosqlite

from gateway.store.sealing import KEY_BYTES, Keyring, Sealed

BELONGS_TO: Final = "tokens"


def keyed(key: bytes, digest: str) -> str:
    """What is stored of a token whose digest is given."""
    return hmac.digest(key, digest.encode("utf-8", "surrogatepass"), "sha256").hex()


async def open_key(connection: aiosqlite.Connection, ring: Keyring) -> tuple[bytes, bool]:
    """The key; the first time it is made, and what is stored of all tokens follows it.

    Also whether anything followed. Raises KeyTrouble. The transaction is the caller's.
    """
    sealed = await _sealed(connection)
    if sealed is not None:
        return ring.unseal(sealed, BELONGS_TO), False
    key = secrets.token_bytes(KEY_BYTES)
    await _put(connection, ring.seal(key, BELONGS_TO))
    rows = list(await connection.execute_fetchall("SELECT id, hash FROM tokens"))
    for token_id, digest in rows:
        await connection.execute(
            "UPDATE tokens SET hash = ? WHERE id = ?", (keyed(key, digest), token_id)
        )
    return key, bool(rows)


async def seal_key_again(connection: aiosqlite.Connection, ring: Keyring) -> None:
    """Seal the key under the current one of the ring. The transaction is the caller's."""
    sealed = await _sealed(connection)
    if sealed is not None and sealed.key_id != ring.current:
        await _put(connection, ring.seal(ring.unseal(sealed, BELONGS_TO), BELONGS_TO))


async def _sealed(connection: aiosqlite.Connection) -> Sealed | None:
    rows = await connection.execute_fetchall("SELECT key_id, sealed FROM token_key")
    return next((Sealed(key_id, blob) for key_id, blob in rows), None)


async def _put(connection: aiosqlite.Connection, sealed: Sealed) -> None:
    await connection.execute(
        "INSERT OR REPLACE INTO token_key VALUES (1, ?, ?)", (sealed.blob, sealed.key_id)
    )
