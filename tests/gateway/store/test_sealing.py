"""Secrets at rest: nothing of them in any file but the one of the key, and nothing without it."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import stat
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.model.script import Binding, ScriptKey, Version
from gateway.store.sealing import GivenKeys, KeyFile, Keyring, KeyTrouble, Sealed
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.migrate import shipped

pytestmark = pytest.mark.anyio

PLANTED = "planted-3f9c-canary-of-a-secret"
ONE, TWO = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def version(number: int = 1, text: str = PLANTED) -> Version:
    return Version(
        id=f"v{number}",
        key=ScriptKey("production", "acme"),
        tenant="acme",
        etag="",
        created_ms=number,
        main_module="a.py",
        modules=(),
        bindings=(
            Binding("API_KEY", "secret_text", text=text),
            Binding("PLAIN", "plain_text", text="shown"),
        ),
    )


def holding(folder: Path, needle: str) -> list[str]:
    """Files that hold the text."""
    return [path.name for path in sorted(folder.iterdir()) if needle.encode() in path.read_bytes()]


async def test_a_secret_comes_back_and_is_in_no_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db")
    await store.open()
    await store.put_version(version())
    assert holding(tmp_path, "shown") != []
    assert holding(tmp_path, PLANTED) == []
    found = await store.get_version("v1")
    (listed,) = await store.list_versions(version().key)
    await store.close()
    assert holding(tmp_path, PLANTED) == []
    assert found is not None
    assert found.bindings == listed.bindings == version().bindings


async def test_the_key_file_is_private_and_must_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secrets.key"
    keys = KeyFile(path).load(create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyFile(path).load(create=True).current == keys.current
    path.chmod(0o640)
    with pytest.raises(KeyTrouble, match="chmod 600"):
        KeyFile(path).load(create=True)


async def test_without_its_key_a_store_does_not_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db")
    await store.open()
    await store.put_version(version())
    await store.close()
    kept = (tmp_path / "secrets.key").read_bytes()
    (tmp_path / "secrets.key").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        await SqliteStore(tmp_path / "w.db").open()
    assert not (tmp_path / "secrets.key").exists()
    with pytest.raises(ConfigError, match="is missing"):
        await SqliteStore(tmp_path / "w.db", GivenKeys(ONE)).open()
    (tmp_path / "secrets.key").write_bytes(kept)
    (tmp_path / "secrets.key").chmod(0o600)
    await store.open()
    assert await store.get_version("v1") is not None
    await store.close()


async def test_rotation_leaves_only_the_new_key(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db")
    await store.open()
    before = (tmp_path / "secrets.key").read_text().split()
    for number in range(1, 4):
        await store.put_version(version(number))
    (old,) = await store.list_keys()
    assert (old.versions, old.current) == (3, True)
    assert await store.rotate_keys() == 3
    after = (tmp_path / "secrets.key").read_text().split()
    assert len(after) == 1
    assert after != before
    assert [key.versions for key in await store.list_keys()] == [3, 0]
    await store.close()
    again = SqliteStore(tmp_path / "w.db")
    await again.open()
    found = await again.get_version("v2")
    assert found is not None
    assert found.bindings == version().bindings
    assert [key.versions for key in await again.list_keys()] == [3]
    await again.close()


async def test_a_rotation_that_was_interrupted_loses_nothing(tmp_path: Path) -> None:
    source = KeyFile(tmp_path / "secrets.key")
    store = SqliteStore(tmp_path / "w.db", source)
    await store.open()
    await store.put_version(version(1))
    await store.close()
    source.begin_rotation(source.load(create=False))
    again = SqliteStore(tmp_path / "w.db")
    await again.open()
    await again.put_version(version(2))
    for number in (1, 2):
        found = await again.get_version(f"v{number}")
        assert found is not None
        assert found.bindings == version().bindings
    assert await again.rotate_keys() == 2
    assert len((tmp_path / "secrets.key").read_text().split()) == 1
    await again.close()


async def test_versions_stored_during_rotations_open_afterwards(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db")
    await store.open()
    await asyncio.gather(
        *(store.put_version(version(number)) for number in range(8)),
        *(store.rotate_keys() for _ in range(3)),
    )
    await store.close()
    await store.open()
    assert len(await store.list_versions(version().key)) == 8
    await store.close()


async def test_keys_of_the_operator(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db", GivenKeys(ONE))
    await store.open()
    await store.put_version(version())
    await store.close()
    assert not (tmp_path / "secrets.key").exists()
    store = SqliteStore(tmp_path / "w.db", GivenKeys(f"{TWO}, {ONE}"))
    await store.open()
    assert await store.rotate_keys() == 1
    await store.close()
    store = SqliteStore(tmp_path / "w.db", GivenKeys(TWO))
    await store.open()
    assert await store.get_version("v1") is not None
    await store.close()


@pytest.mark.parametrize("text", ["", "short", "a" * 44, "é" * 44, base64.b64encode(b"x").decode()])
async def test_bad_keys_are_refused_without_showing_them(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeyTrouble) as caught:
        GivenKeys(text).load(create=True)
    assert "openssl rand -base64 32" in str(caught.value)
    assert len(text) < 5 or text not in str(caught.value)


async def test_what_is_sealed_opens_nowhere_else_and_not_when_changed() -> None:
    ring = Keyring([b"k" * 32])
    sealed = ring.seal(b"text", "version a")
    assert ring.unseal(sealed, "version a") == b"text"
    with pytest.raises(KeyTrouble, match="damaged"):
        ring.unseal(sealed, "version b")
    with pytest.raises(KeyTrouble, match="damaged"):
        ring.unseal(Sealed(sealed.key_id, sealed.blob[:-1] + b"\0"), "version a")
    with pytest.raises(KeyTrouble, match="damaged"):
        ring.unseal(Sealed(sealed.key_id, b""), "version a")
    assert "k" * 8 not in repr(ring)


async def test_secrets_of_an_older_schema_are_sealed_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    old = sqlite3.connect(path)
    old.executescript("".join(step.sql for step in shipped()[:2]) + "PRAGMA user_version=2;")
    for number in (1, 2):
        document = {
            "id": f"v{number}",
            "key": ["production", "acme"],
            "tenant": "acme",
            "etag": "",
            "created_ms": 5,
            "main_module": "a.py",
            "modules": [],
            "bindings": [{"name": "API_KEY", "type": "secret_text", "text": PLANTED}][:number],
        }
        old.execute(
            "INSERT INTO versions VALUES (?, 'production', 'acme', 5, ?, ?)",
            (f"v{number}", json.dumps(document), number),
        )
    old.commit()
    old.execute("DELETE FROM versions WHERE id = 'v1'")
    old.commit()
    old.close()
    assert holding(tmp_path, PLANTED) == ["w.db"]
    store = SqliteStore(path)
    await store.open()
    assert holding(tmp_path, PLANTED) == []
    found = await store.get_version("v2")
    await store.close()
    assert found is not None
    assert found.bindings == (Binding("API_KEY", "secret_text", text=PLANTED),)
