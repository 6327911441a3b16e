"""What is particular to the SQLite backend."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.model.script import Module, ScriptKey, Version
from gateway.store.sqlite import SchemaError, SqliteStore
from gateway.store.sqlite.connections import Connections
from gateway.store.sqlite.kv import HOSTNAMES, TENANT_OF_VALUE
from gateway.store.sqlite.migrate import Migration, migrate, shipped
from gateway.store.sqlite.triggers import BY_ALIAS
from gateway.store.sqlite.versions import KEEP_VERSIONS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Connections]:
    connections = Connections(tmp_path / "one.db")
    await connections.open_writer()
    await migrate(connections.writer, shipped())
    await connections.open_readers()
    yield connections
    await connections.close()


async def test_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "waypost.db"
    store = SqliteStore(path)
    await store.open()
    await store.put("k", b"v")
    files = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    await store.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    names = ("secrets.key", "waypost.db", "waypost.db-wal", "waypost.db-shm")
    assert files == dict.fromkeys(names, 0o600)


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    for expected in (None, b"v"):
        store = SqliteStore(tmp_path / "w.db")
        await store.open()
        assert await store.get("k") == expected
        await store.put("k", b"v")
        await store.close()


async def test_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(SchemaError, match="schema 999"):
        await SqliteStore(path).open()


async def test_failed_migration_leaves_the_schema_alone(db: Connections) -> None:
    known = shipped()
    broken = Migration(known[-1].number + 1, "broken.sql", "CREATE TABLE extra (a); SELECT nope;")
    with pytest.raises(SchemaError, match=r"broken\.sql"):
        await migrate(db.writer, [*known, broken])
    assert await db.read("SELECT name FROM sqlite_master WHERE name = 'extra'") == []
    assert await db.read("PRAGMA user_version") == [(known[-1].number,)]


async def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in shipped()] == list(range(1, len(shipped()) + 1))


async def test_readers_cannot_write(db: Connections) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await db.read("INSERT INTO kv VALUES ('a', 'b')")


async def test_cancelled_transaction_is_rolled_back(db: Connections) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with db.transaction() as connection:
            await connection.execute("INSERT INTO kv VALUES ('a', 'b')")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await db.read("SELECT * FROM kv") == []
    async with db.transaction() as connection:
        await connection.execute("INSERT INTO kv VALUES ('c', 'd')")
    assert await db.read("SELECT key FROM kv") == [("c",)]


async def test_cancelled_at_any_step_the_writer_stays_usable(db: Connections) -> None:
    for steps in range(12):
        task = asyncio.ensure_future(_write_one(db, f"k{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    await _write_one(db, "last")
    assert await db.read("SELECT value FROM kv WHERE key = 'last'") == [(b"v",)]


async def _write_one(db: Connections, key: str) -> None:
    async with db.transaction() as connection:
        await connection.execute("INSERT INTO kv VALUES (?, ?)", (key, b"v"))


async def test_hostnames_of_a_tenant_are_found_by_index(db: Connections) -> None:
    plan = await db.read(
        f"EXPLAIN QUERY PLAN SELECT key FROM kv WHERE {TENANT_OF_VALUE} = 'a' AND {HOSTNAMES}"  # noqa: S608
        " AND key > 'hostname:b' ORDER BY key LIMIT 5"
    )
    assert len(plan) == 1
    assert "INDEX kv_hostnames_by_tenant" in plan[0][3]


async def test_an_alias_is_found_without_reading_the_documents(db: Connections) -> None:
    (plan,) = await db.read(f"EXPLAIN QUERY PLAN {BY_ALIAS}", ("production", "acme", "staging"))
    assert "USING INDEX versions_by_alias (namespace=? AND name=? AND <expr>=?)" in plan[-1]


async def test_old_versions_go(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db")
    await store.open()
    for number in range(KEEP_VERSIONS + 2):
        await store.put_version(
            Version(
                id=f"v{number}",
                key=ScriptKey("production", "acme"),
                tenant="acme",
                etag="",
                created_ms=5,
                main_module="a.py",
                modules=(Module("a.py", "text/x-python", b""),),
            )
        )
    assert await store.get_version("v1") is None
    assert await store.get_version("v2") is not None
    await store.close()
    with sqlite3.connect(tmp_path / "w.db") as connection:
        assert connection.execute("SELECT count(*) FROM modules").fetchone() == (KEEP_VERSIONS,)
    connection.close()


async def test_using_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "w.db")
    with pytest.raises(RuntimeError, match="not open"):
        await store.get("k")
    with pytest.raises(RuntimeError, match="not open"):
        await store.put("k", b"v")


async def test_versions_of_the_first_schema_are_numbered_and_served(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    old = sqlite3.connect(path)
    old.executescript(shipped()[0].sql + "PRAGMA user_version=1;")
    for number in (1, 2):
        old.execute(
            "INSERT INTO versions VALUES (?, 'production', 'acme', 5, ?)",
            (f"v{number}", _FIRST_DOCUMENT % number),
        )
    old.execute(
        "INSERT INTO scripts VALUES"
        " ('production', 'acme', 'acme', 'v2', 5, 9, '', '[]', '[]', '{}')"
    )
    old.commit()
    old.close()
    store = SqliteStore(path)
    await store.open()
    key = ScriptKey("production", "acme")
    assert [(item.id, item.number) for item in await store.list_versions(key)] == [
        ("v2", 2),
        ("v1", 1),
    ]
    (deployment,) = await store.list_deployments(key)
    assert (deployment.version_id, deployment.created_ms) == ("v2", 9)
    await store.close()


_FIRST_DOCUMENT = (
    '{"id":"v%d","key":["production","acme"],"tenant":"acme","etag":"","created_ms":5,'
    '"main_module":"a.py","modules":[]}'
)
