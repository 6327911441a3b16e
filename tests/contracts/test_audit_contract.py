"""The entry of a change of a script is there exactly when the change is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.model.audit import INTENT, AuditEntry, AuditQuery, Intent, Kind
from gateway.model.script import Deployment, Module, ScriptKey, Version
from gateway.store.base import Store
from gateway.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

KEY = ScriptKey("production", "acme")


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    backend = SqliteStore(tmp_path / "waypost.db")
    await backend.open()
    yield backend
    await backend.close()


@contextmanager
def intending(
    action: str, kind: Kind = Kind.SCRIPT, name: str | None = "production/acme"
) -> Iterator[Intent]:
    entry = AuditEntry(at_ms=1, actor="t1", action=action, target=name or "")
    intent = Intent(kind, entry, name)
    reset = INTENT.set(intent)
    try:
        yield intent
    finally:
        INTENT.reset(reset)


def version(name: str) -> Version:
    return Version(
        id=name,
        key=KEY,
        tenant="acme",
        etag=name,
        created_ms=1,
        main_module="m.py",
        modules=(Module("m.py", "text/x-python", b""),),
    )


async def told(store: Store) -> list[tuple[str, Any]]:
    entries = await store.list_audit(AuditQuery())
    return [(entry.action, (entry.after or entry.detail).get("version")) for entry in entries]


async def test_each_change_of_a_script_brings_its_entry(store: Store) -> None:
    deployment = Deployment(id="d", key=KEY, version_id="v2", created_ms=2)
    changes: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: store.put_version(version("v1")),
        "add": lambda: store.add_version(version("v2")),
        "serve": lambda: store.serve_version(deployment),
        "tags": lambda: store.put_tags(KEY, ("a",)),
        "delete": lambda: store.delete_script(KEY),
    }
    for action, change in changes.items():
        with intending(action) as intent:
            await change()
        assert intent.noted, action
    assert await told(store) == [
        ("delete", None), ("tags", "v2"), ("serve", "v2"), ("add", "v2"), ("put", "v1")
    ]  # fmt: skip
    assert {entry.tenant for entry in await store.list_audit(AuditQuery(tenant="acme"))} == {"acme"}


async def test_what_changes_nothing_brings_none(store: Store) -> None:
    missing = Deployment(id="d", key=KEY, version_id="v9", created_ms=2)
    with intending("nothing") as intent:
        assert await store.serve_version(missing) is None
        assert await store.put_tags(KEY, ("a",)) is None
        assert await store.delete_script(KEY) is False
    assert not intent.noted
    await store.put_version(version("v1"))
    with intending("again"), pytest.raises(sqlite3.IntegrityError):
        await store.put_version(version("v1"))
    assert await told(store) == []


async def test_a_change_of_another_script_is_not_meant(store: Store) -> None:
    with intending("other", name="production/other") as intent:
        await store.put_version(version("v1"))
    await store.put_tags(KEY, ())
    assert not intent.noted
    assert await told(store) == []
