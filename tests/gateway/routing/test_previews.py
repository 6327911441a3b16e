"""A version on a hostname of its own: whose it is, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.config import Config, Routing
from gateway.errors import NotConfigured
from gateway.model.http import Request
from gateway.model.route import Route
from gateway.model.script import Module, ScriptKey, Tenant, TenantStatus, Version
from gateway.routing.resolver import Resolver
from gateway.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

CONFIG = Config(routing=Routing(functions_domain="fn.example"))
HELLO = ScriptKey("production", "hello")


def version(key: ScriptKey, prefix: str, *, alias: str = "", **limits: int) -> Version:
    return Version(
        id=f"{prefix}-0000-4000-8000-{key.name.encode().hex():0<12.12}",
        key=key,
        tenant=key.name.split("-")[0],
        etag="e",
        created_ms=1,
        main_module="main.py",
        modules=(Module("main.py", "text/x-python", b"x"),),
        limits=limits,
        alias=alias,
    )


class Place:
    """A store and a resolver over it, told of changes as by the catalogue."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.resolver = Resolver(store, CONFIG)

    async def tenant(self, slug: str, status: TenantStatus = TenantStatus.ACTIVE) -> None:
        await self.store.put_tenant(Tenant(slug, "pro", status, 0))
        self.resolver.tenant_changed(slug)

    async def serve(self, version: Version) -> Version:
        await self.store.put_version(version)
        self.resolver.script_changed(version.key)
        return version

    async def add(self, version: Version) -> Version:
        await self.store.add_version(version)
        self.resolver.previews_changed(version.key)
        return version

    async def find(self, label: str, path: bytes = b"/") -> Route | None:
        host = label if "." in label else f"{label}.localhost"
        request = Request("r", "GET", "http", host, host, path, b"", [], None, "")
        # What memory has goes without a task, where the answer gets no field of ours.
        cached = self.resolver.cached(request)
        assert cached is None or not cached.preview
        try:
            return await self.resolver.resolve(request)
        except NotConfigured:
            return None

    async def version_of(self, label: str) -> str | None:
        route = await self.find(label)
        return None if route is None else route.version_id


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    store = SqliteStore(tmp_path / "waypost.db")
    await store.open()
    made = Place(store)
    await made.tenant("hello")
    await made.serve(version(HELLO, "aaaaaaaa"))
    yield made
    await store.close()


async def test_each_version_answers_deployed_or_not(place: Place) -> None:
    assert await place.find("bbbbbbbb-hello") is None
    waiting = await place.add(version(HELLO, "bbbbbbbb", cpu_ms=3))
    for _ in range(2):
        route = await place.find("bbbbbbbb-hello")
        assert route is not None
        assert (route.version_id, route.key, route.tenant) == (waiting.id, HELLO, "hello")
        assert (route.plan, route.limits.cpu_ms, route.preview) == ("pro", 3, True)
    deployed = await place.find("aaaaaaaa-hello")
    assert deployed is not None
    assert deployed.preview
    plain = await place.find("hello")
    assert plain is not None
    assert (plain.preview, plain.version_id[:8]) == (False, "aaaaaaaa")


async def test_only_the_whole_beginning_and_only_a_hostname(place: Place) -> None:
    for label in ("aaaaaaa-hello", "aaaaaaaa0-hello", "aaaaaaab-hello", "-hello", "aaaaaaaa-"):
        assert await place.find(label) is None, label
    assert await place.find("fn.example", b"/aaaaaaaa/hello") is None
    await place.store.put("hostname:shop.example", b'{"workerName":"aaaaaaaa-hello"}')
    with pytest.raises(Exception, match="does not exist"):
        await place.find("shop.example")


async def test_two_versions_that_begin_alike_are_neither(place: Place) -> None:
    await place.add(replace(version(HELLO, "aaaaaaaa"), id="aaaaaaaa-1"))
    assert await place.find("aaaaaaaa-hello") is None


async def test_a_script_of_that_name_wins(place: Place) -> None:
    assert await place.version_of("aaaaaaaa-hello") is not None
    real = ScriptKey("production", "aaaaaaaa-hello")
    await place.serve(replace(version(real, "cccccccc"), tenant="hello"))
    assert (await place.version_of("aaaaaaaa-hello") or "")[:8] == "cccccccc"
    await place.store.delete_script(real)
    place.resolver.script_changed(real)
    assert (await place.version_of("aaaaaaaa-hello") or "")[:8] == "aaaaaaaa"


async def test_a_name_that_belongs_to_another_tenant_is_no_preview(place: Place) -> None:
    await place.add(version(HELLO, "bbbbbbbb", alias="acme-shop"))
    assert await place.version_of("acme-shop-hello") is not None
    await place.tenant("acme")
    assert await place.find("acme-shop-hello") is None
    await place.tenant("aaaaaaaa")
    assert await place.find("aaaaaaaa-hello") is None


async def test_the_version_of_an_owner_before_is_no_preview(place: Place) -> None:
    await place.add(replace(version(HELLO, "bbbbbbbb"), tenant="before"))
    assert await place.find("bbbbbbbb-hello") is None


async def test_an_alias_moves_to_the_newest_version_and_the_longest_script(place: Place) -> None:
    first = await place.add(version(HELLO, "bbbbbbbb", alias="try"))
    assert await place.version_of("try-hello") == first.id
    second = await place.add(version(HELLO, "cccccccc", alias="try"))
    assert await place.version_of("try-hello") == second.id
    await place.add(version(HELLO, "dddddddd", alias="a-b"))
    longer = ScriptKey("production", "b-hello")
    assert (await place.version_of("a-b-hello") or "")[:8] == "dddddddd"
    await place.serve(replace(version(longer, "eeeeeeee", alias="a"), tenant="b"))
    assert (await place.version_of("a-b-hello") or "")[:8] == "eeeeeeee"


async def test_switched_off_and_removed_is_gone_at_once(place: Place) -> None:
    assert await place.find("aaaaaaaa-hello") is not None
    await place.store.put_previews(HELLO, False)
    place.resolver.previews_changed(HELLO)
    assert await place.find("aaaaaaaa-hello") is None
    await place.store.put_previews(HELLO, True)
    place.resolver.previews_changed(HELLO)
    assert await place.find("aaaaaaaa-hello") is not None
    assert await place.resolver.answers_to("aaaaaaaa-hello.localhost")
    await place.store.delete_script(HELLO)
    place.resolver.script_changed(HELLO)
    assert await place.find("aaaaaaaa-hello") is None


async def test_the_oldest_versions_go(place: Place) -> None:
    old = await place.add(version(HELLO, "00000000"))
    assert await place.version_of("00000000-hello") == old.id
    for number in range(1, 25):
        await place.add(version(HELLO, f"{number:08d}"))
    assert await place.find("00000000-hello") is None
    # what serves is kept
    assert await place.find("aaaaaaaa-hello") is not None


async def test_a_suspended_tenant_is_so_everywhere(place: Place) -> None:
    await place.tenant("hello", TenantStatus.SUSPENDED)
    route = await place.find("aaaaaaaa-hello")
    assert route is not None
    assert route.status is TenantStatus.SUSPENDED
