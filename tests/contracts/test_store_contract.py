"""What every store backend promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.model.script import (
    Binding,
    Bytecode,
    Cron,
    Deployment,
    Module,
    Namespace,
    Script,
    ScriptKey,
    Share,
    Tenant,
    TenantStatus,
    Version,
)
from gateway.store.base import Store, StoredToken
from gateway.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

KEY = ScriptKey("production", "acme-shop")


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    backend = SqliteStore(tmp_path / "data" / "waypost.db")
    await backend.open()
    yield backend
    await backend.close()


def version(number: int = 1, key: ScriptKey = KEY, tenant: str = "acme") -> Version:
    return Version(
        id=f"{key.namespace}-{key.name}-{number}",
        key=key,
        tenant=tenant,
        etag=f"e{number}",
        created_ms=1000 + number,
        main_module="entry.py",
        modules=(
            Module("entry.py", "text/x-python", b"x = %d" % number),
            Module("data/blob.bin", "application/octet-stream", bytes(range(256)) * 100),
            Module("empty.txt", "text/plain", b""),
        ),
        entrypoint="app",
        bindings=(Binding("A", "json", json={"n": [1, None]}), Binding("S", "secret_text", "s")),
        limits={"cpu_ms": 5},
        compatibility_date="2026-01-01",
        compatibility_flags=("python_workers",),
        tags=("t1", "t2"),
        handlers=("fetch",),
        kind="asgi",
        startup_ms=7,
    )


async def names(store: Store, namespace: str = "production", **query: str) -> list[str]:
    return [script.key.name for script in await store.list_scripts(namespace, **query)]  # type: ignore[arg-type]


class TestKeyValues:
    async def test_put_get_replace_delete(self, store: Store) -> None:
        assert await store.get("k") is None
        await store.put("k", b"1")
        await store.put("k", b"\x00\xff2")
        assert await store.get("k") == b"\x00\xff2"
        assert await store.delete("k") is True
        assert await store.delete("k") is False
        assert await store.get("k") is None

    async def test_list_is_ordered_by_prefix_and_pages(self, store: Store) -> None:
        await store.put_many(
            (key, key.encode()) for key in ["a:3", "a:1", "b:1", "a:2", "a", "a:é"]
        )
        assert [key for key, _ in await store.list("a:")] == ["a:1", "a:2", "a:3", "a:é"]
        assert await store.list("a:", after="a:1", limit=2) == [("a:2", b"a:2"), ("a:3", b"a:3")]
        assert await store.list("a:%") == []

    async def test_put_many_stores_all_or_none(self, store: Store) -> None:
        def broken() -> Iterator[tuple[str, bytes]]:
            for number in range(5000):
                yield f"hostname:h{number}", b"{}"
            raise ValueError("the source broke")

        with pytest.raises(ValueError, match="the source broke"):
            await store.put_many(broken())
        assert await store.list("") == []
        await store.put("still", b"works")
        assert await store.get("still") == b"works"

    async def test_hostnames_of_one_tenant(self, store: Store) -> None:
        await store.put("hostname:b.example", b'{"workerName":"acme","tenant":"acme"}')
        await store.put("hostname:a.example", b'{"workerName":"acme","tenant":"acme"}')
        await store.put("hostname:c.example", b'{"workerName":"beta","tenant":"beta"}')
        await store.put("hostname:broken", b"\xff not json")
        await store.put("other:x", b'{"tenant":"acme"}')
        hosts = [host for host, _ in await store.list_hostnames("acme")]
        assert hosts == ["a.example", "b.example"]
        assert [host for host, _ in await store.list_hostnames("acme", after="a.example")] == [
            "b.example"
        ]
        assert [host for host, _ in await store.list_hostnames("acme", prefix="a.")] == [
            "a.example"
        ]


class TestCatalog:
    async def test_namespaces(self, store: Store) -> None:
        await store.put_namespace(Namespace("1", "staging", 5))
        await store.put_namespace(Namespace("2", "production", 6))
        assert [item.name for item in await store.list_namespaces()] == ["production", "staging"]
        await store.put_namespace(Namespace("1", "preview", 5))
        assert await store.get_namespace("staging") is None
        assert await store.get_namespace("preview") == Namespace("1", "preview", 5)

    async def test_namespace_with_scripts_stays(self, store: Store) -> None:
        await store.put_namespace(Namespace("1", "production", 5))
        await store.put_version(version())
        assert await store.count_scripts("production") == 1
        assert await store.delete_namespace("production") is False
        await store.delete_script(KEY)
        assert await store.delete_namespace("production") is True
        assert await store.delete_namespace("production") is False

    async def test_version_comes_back_whole(self, store: Store) -> None:
        await store.put_version(version())
        assert await store.get_version(version().id) == replace(version(), number=1)
        assert await store.get_version("other") is None

    async def test_script_follows_its_newest_version(self, store: Store) -> None:
        await store.put_version(version(1))
        script = await store.put_version(version(2))
        assert script == await store.get_script(KEY)
        assert script == Script(
            key=KEY,
            tenant="acme",
            version_id=version(2).id,
            created_ms=1001,
            modified_ms=1002,
            etag="e2",
            tags=("t1", "t2"),
            handlers=("fetch",),
            limits={"cpu_ms": 5},
        )
        assert await store.get_version(version(1).id) == replace(version(1), number=1)

    async def test_scripts_list_by_namespace_and_tenant(self, store: Store) -> None:
        for name, tenant in [("b", "b"), ("acme-2", "acme"), ("acme-1", "acme")]:
            await store.put_version(version(key=ScriptKey("production", name), tenant=tenant))
        await store.put_version(version(key=ScriptKey("staging", "acme")))
        assert await names(store) == ["acme-1", "acme-2", "b"]
        assert await names(store, tenant="acme") == ["acme-1", "acme-2"]
        assert await names(store, after="acme-1") == ["acme-2", "b"]
        assert await names(store, "staging") == ["acme"]

    async def test_delete_removes_versions(self, store: Store) -> None:
        await store.put_version(version(1))
        await store.put_version(version(2))
        assert await store.delete_script(KEY) is True
        assert await store.delete_script(KEY) is False
        assert await store.get_version(version(1).id) is None
        assert await store.get_version(version(2).id) is None


def deployment(number: int, version_id: str, key: ScriptKey = KEY) -> Deployment:
    return Deployment(id=f"d{number}", key=key, version_id=version_id, created_ms=2000 + number)


class TestVersions:
    async def test_added_version_does_not_serve_until_it_is_told_to(self, store: Store) -> None:
        await store.put_version(version(1))
        added = await store.add_version(replace(version(2), tags=(), limits={"cpu_ms": 3}))
        assert added.number == 2
        before = await store.get_script(KEY)
        assert before is not None
        assert before.version_id == version(1).id
        script = await store.serve_version(deployment(1, added.id))
        assert script == await store.get_script(KEY)
        assert script == replace(
            before, version_id=added.id, etag="e2", limits={"cpu_ms": 3}, modified_ms=2001
        )

    async def test_version_of_another_script_cannot_serve(self, store: Store) -> None:
        other = ScriptKey("production", "beta")
        await store.put_version(version(1))
        await store.put_version(version(1, key=other, tenant="beta"))
        assert await store.serve_version(deployment(1, version(1).id, other)) is None
        assert await store.serve_version(deployment(1, "nothing")) is None
        found = await store.get_script(other)
        assert found is not None
        assert found.version_id == version(1, key=other).id

    async def test_lists_are_newest_first_whatever_the_clock_says(self, store: Store) -> None:
        await store.put_version(version(1))
        await store.put_version(replace(version(2), created_ms=5, triggered_by="secret"))
        await store.serve_version(deployment(7, version(1).id))
        versions = await store.list_versions(KEY)
        assert [(item.id, item.number) for item in versions] == [
            (version(2).id, 2),
            (version(1).id, 1),
        ]
        assert all(module.content == b"" for item in versions for module in item.modules)
        deployments = await store.list_deployments(KEY)
        assert [(item.version_id, item.triggered_by) for item in deployments] == [
            (version(1).id, "promotion"),
            (version(2).id, "secret"),
            (version(1).id, "upload"),
        ]
        assert deployments[0] == deployment(7, version(1).id)

    async def test_serving_version_is_kept_however_old(self, store: Store) -> None:
        await store.put_version(version(0))
        for number in range(1, 40):
            await store.add_version(version(number))
        kept = [item.number for item in await store.list_versions(KEY)]
        assert kept[-1] == 1
        assert kept[0] == 40
        assert len(kept) < 40

    async def test_a_split_is_stored_and_its_versions_are_kept(self, store: Store) -> None:
        await store.put_version(version(0))
        await store.put_version(version(1))
        shares = (Share(version(1).id, 90.5, {"cpu_ms": 5}), Share(version(0).id, 9.5))
        split = replace(deployment(1, version(1).id), split=shares)
        script = await store.serve_version(split)
        assert script is not None
        assert script.split == shares
        assert await store.get_script(KEY) == script
        for number in range(2, 40):
            await store.add_version(version(number))
        kept = [item.number for item in await store.list_versions(KEY)]
        assert kept[-2:] == [2, 1]
        assert (await store.list_deployments(KEY))[0] == split
        gone = replace(split, id="d2", split=(*shares, Share("gone", 0)))
        assert await store.serve_version(gone) is None
        whole = await store.serve_version(deployment(3, version(1).id))
        assert whole is not None
        assert whole.split == ()

    async def test_deleting_a_script_takes_versions_and_deployments(self, store: Store) -> None:
        await store.put_version(version(1))
        await store.add_version(version(2))
        await store.delete_script(KEY)
        assert await store.list_versions(KEY) == []
        assert await store.list_deployments(KEY) == []

    async def test_tags_change_alone(self, store: Store) -> None:
        before = await store.put_version(version(1))
        assert await store.put_tags(KEY, ("x",)) == replace(before, tags=("x",))
        assert await store.get_script(KEY) == replace(before, tags=("x",))
        assert await store.put_tags(ScriptKey("production", "none"), ()) is None


COMPILED = Bytecode("python-1", (3, 0, 4), b"abc\0\xff\0\xff")


async def test_it_is_found_by_the_interpreter_that_made_it_alone(store: Store) -> None:
    await store.put_version(version(1))
    assert await store.get_bytecode(version(1).id, "python-1") is None
    await store.put_bytecode(version(1).id, COMPILED)
    assert await store.get_bytecode(version(1).id, "python-1") == COMPILED
    assert await store.get_bytecode(version(1).id, "python-2") is None
    await store.put_bytecode(version(1).id, Bytecode("python-2"))
    assert await store.get_bytecode(version(1).id, "python-2") == Bytecode("python-2")
    assert await store.get_bytecode(version(1).id, "python-1") is None


async def test_it_goes_with_its_version_and_comes_back_with_none(store: Store) -> None:
    await store.put_bytecode(version(1).id, COMPILED)
    await store.put_version(version(1))
    assert await store.get_bytecode(version(1).id, "python-1") is None
    await store.put_bytecode(version(1).id, COMPILED)
    await store.delete_script(KEY)
    await store.put_version(version(1))
    assert await store.get_bytecode(version(1).id, "python-1") is None


class TestAccounts:
    async def test_tenants_keep_their_plan_in_the_routing_kv(self, store: Store) -> None:
        tenant = Tenant("acme", "pro", TenantStatus.ACTIVE, 5, "Acme Ltd")
        await store.put_tenant(tenant)
        assert await store.get_tenant("acme") == tenant
        assert await store.get("plan:acme") == b"pro"
        await store.put("plan:acme", b"free")
        found = await store.get_tenant("acme")
        assert found is not None
        assert found.plan == "free"

    async def test_tenants_list_in_order(self, store: Store) -> None:
        for slug in ("c", "a", "b"):
            await store.put_tenant(Tenant(slug, "free", TenantStatus.SUSPENDED, 5))
        assert [tenant.slug for tenant in await store.list_tenants()] == ["a", "b", "c"]
        assert [t.slug for t in await store.list_tenants(after="a", limit=1)] == ["b"]

    async def test_deleting_a_tenant_takes_everything_of_its_own(self, store: Store) -> None:
        for slug in ("acme", "beta"):
            await store.put_tenant(Tenant(slug, "free", TenantStatus.ACTIVE, 5))
            await store.put_token(StoredToken(f"t-{slug}", f"h-{slug}", slug, 5))
            await store.put_version(version(key=ScriptKey("production", slug), tenant=slug))
            record = b'{"workerName":"%s","tenant":"%s"}' % (slug.encode(), slug.encode())
            await store.put(f"hostname:{slug}.example", record)
        assert await store.delete_tenant("acme") is True
        assert await store.delete_tenant("acme") is False
        assert await store.get("plan:acme") is None
        assert await store.get("hostname:acme.example") is None
        assert await store.find_token("h-acme") is None
        assert await names(store) == ["beta"]
        assert await store.get_version("production-acme-1") is None
        assert await store.get("hostname:beta.example") is not None
        assert await store.find_token("h-beta") is not None
        assert await store.get_version("production-beta-1") is not None

    async def test_tokens(self, store: Store) -> None:
        mine = StoredToken("1", "h1", "acme", 5, "ci")
        operators = StoredToken("2", "h2", None, 6)
        await store.put_token(mine)
        await store.put_token(operators)
        found = await store.find_token("h1")
        assert found is not None
        assert found.hash != mine.hash
        assert replace(found, hash=mine.hash) == mine
        assert await store.find_token(found.hash) is None
        assert await store.list_tokens("acme") == [found]
        (other,) = await store.list_tokens(None)
        assert replace(other, hash=operators.hash) == operators
        assert await store.delete_token("1") is True
        assert await store.delete_token("1") is False
        assert await store.find_token("h1") is None


class TestTriggers:
    async def test_previews_and_schedules_stay_with_a_script_until_it_goes(
        self, store: Store
    ) -> None:
        await store.put_tenant(Tenant("acme", "free", TenantStatus.ACTIVE, 0))
        new = await store.put_version(version(1))
        assert (new.previews, new.crons) == (True, ())
        crons = (Cron("*/5 * * * *", 1, 2), Cron("0 0 * * mon", 1, 2))
        off = await store.put_previews(KEY, False)
        assert off is not None
        assert not off.previews
        timed = await store.put_crons(KEY, crons)
        assert timed is not None
        assert (timed.previews, timed.crons) == (False, crons)
        assert await store.put_version(version(2)) == await store.get_script(KEY)
        (listed,) = await store.list_scripts("production")
        assert (listed.previews, listed.crons, listed.version_id) == (
            False,
            crons,
            version(2).id,
        )
        assert await store.list_scheduled() == [(KEY, ("*/5 * * * *", "0 0 * * mon"))]
        assert (await store.count_crons("acme"), await store.count_crons("other")) == (2, 0)
        await store.delete_tenant("acme")
        assert await store.list_scheduled() == []
        assert await store.put_previews(KEY, True) is None
        assert await store.put_crons(KEY, crons) is None
        again = await store.put_version(version(3))
        assert (again.previews, again.crons) == (True, ())

    async def test_scripts_are_found_by_name_the_longest_first(self, store: Store) -> None:
        for name in ("b", "a-b", "c"):
            await store.put_version(version(1, ScriptKey("production", name)))
        await store.put_version(version(1, ScriptKey("staging", "x-a-b")))
        found = await store.find_scripts("production", ["b", "a-b", "x-a-b"])
        assert [script.key.name for script in found] == ["a-b", "b"]
        assert await store.find_scripts("production", []) == []

    async def test_a_preview_is_found_by_id_or_alias(self, store: Store) -> None:
        await store.put_version(replace(version(1), id="0123abcd-1"))
        await store.add_version(replace(version(2), id="deadbeef-2", alias="try"))
        await store.add_version(replace(version(3), id="deadbeef-3", alias="deadbeef"))
        await store.add_version(replace(version(4), id="44444444-4", alias="try"))

        async def found(prefix: str, key: ScriptKey = KEY) -> str | None:
            preview = await store.find_preview(key, prefix)
            return None if preview is None else preview.id

        assert await found("0123abcd") == "0123abcd-1"
        assert await found("try") == "44444444-4"
        for nothing in ("0123abc", "0123abcd-1", "deadbeef", "", "%", "t"):
            assert await found(nothing) is None
        assert await found("try", ScriptKey("production", "acme")) is None

    async def test_a_minute_is_claimed_once(self, store: Store) -> None:
        assert await store.claim_minute(1000)
        assert not await store.claim_minute(1000)
        assert not await store.claim_minute(999)
        assert await store.claim_minute(1001)
        # what a clock that was wrong has claimed
        assert await store.claim_minute(5000)
        assert await store.claim_minute(1002)
