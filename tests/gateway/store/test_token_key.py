"""Tokens are stored under a key that is sealed: the database alone is good for no guess at one."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.accounts.tokens import Tokens, digest_of, ensure_operator_token
from gateway.errors import ConfigError
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.migrate import shipped

pytestmark = pytest.mark.anyio

CHOSEN = "letmein"


async def opened(folder: Path) -> SqliteStore:
    store = SqliteStore(folder / "w.db")
    await store.open()
    return store


def is_in(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_what_is_stored_is_no_hash_of_the_token_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await ensure_operator_token(store, CHOSEN)
    (stored,) = await store.list_tokens(None)
    assert stored.hash != sha256(CHOSEN.encode()).hexdigest()
    for known in (CHOSEN, digest_of(CHOSEN), sha256(digest_of(CHOSEN).encode()).hexdigest()):
        assert not is_in(tmp_path, known)
    assert await store.find_token(stored.hash) is None
    await store.close()
    (tmp_path / "other").mkdir()
    other = await opened(tmp_path / "other")
    await ensure_operator_token(other, CHOSEN)
    (same,) = await other.list_tokens(None)
    await other.close()
    assert same.hash != stored.hash


async def test_tokens_outlive_restarts_and_rotations_of_the_key(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    issued = await Tokens(store).issue("acme")
    await store.rotate_keys()
    await store.close()
    assert len((tmp_path / "secrets.key").read_text().split()) == 1
    store = await opened(tmp_path)
    found = await Tokens(store).authenticate(issued.token)
    await store.close()
    assert found is not None
    assert found.token_id == issued.id


async def test_tokens_of_an_older_schema_stay_good(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    old = sqlite3.connect(path)
    old.executescript("".join(step.sql for step in shipped()[:9]) + "PRAGMA user_version=9;")
    old.execute(
        "INSERT INTO tokens (id, hash, tenant, created_ms, label, scope) VALUES"
        " ('t', ?, NULL, 5, '', 'admin')",
        (digest_of(CHOSEN),),
    )
    old.commit()
    old.close()
    for _ in range(2):
        store = await opened(tmp_path)
        found = await Tokens(store).authenticate(CHOSEN)
        assert found is not None
        assert found.token_id == "t"
        assert await Tokens(store).authenticate(digest_of(CHOSEN)) is None
        await store.close()
    assert not is_in(tmp_path, digest_of(CHOSEN))


async def test_without_the_key_nobody_is_let_in(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await Tokens(store).issue("acme")
    await store.close()
    (tmp_path / "secrets.key").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        await SqliteStore(tmp_path / "w.db").open()
