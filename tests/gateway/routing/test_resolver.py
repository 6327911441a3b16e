"""Host → script → version and limits, through caches that forget what changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Config, Routing
from gateway.errors import NotConfigured, ScriptNotFound
from gateway.model.http import Request
from gateway.model.script import Module, ScriptKey, Tenant, TenantStatus, Version
from gateway.routing.resolver import Resolver
from gateway.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

CONFIG = Config(routing=Routing(functions_domain="fn.example", cache_entries=1000))
HELLO = ScriptKey("production", "hello")


def request(host: str, path: bytes = b"/", header: str | None = None) -> Request:
    return Request(
        ray="r",
        method="GET",
        scheme="http",
        host=host,
        authority=host,
        path=path,
        query=b"",
        headers=[],
        client=None,
        accept="",
        tenant_header=header,
    )


def version(key: ScriptKey, number: int = 1, **limits: int) -> Version:
    return Version(
        id=f"{key.name}-{number}",
        key=key,
        tenant=key.name.split("-")[0],
        etag="e",
        created_ms=number,
        main_module="main.py",
        modules=(Module("main.py", "text/x-python", b"x"),),
        limits=limits,
    )


class Place:
    """A store with one tenant, and a resolver over it."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.resolver = Resolver(store, CONFIG)

    async def tenant(self, slug: str, plan: str = "pro", status: str = "active") -> None:
        await self.store.put_tenant(Tenant(slug, plan, TenantStatus(status), 0))
        self.resolver.tenant_changed(slug)

    async def script(self, key: ScriptKey, number: int = 1, **limits: int) -> None:
        await self.store.put_version(version(key, number, **limits))
        self.resolver.script_changed(key)

    async def hostname(self, host: str, value: bytes) -> None:
        await self.store.put(f"hostname:{host}", value)
        self.resolver.hostname_changed(host)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    store = SqliteStore(tmp_path / "waypost.db")
    await store.open()
    made = Place(store)
    await made.tenant("hello")
    await made.script(HELLO)
    yield made
    await store.close()


async def test_what_was_resolved_is_remembered_and_what_changed_is_not(place: Place) -> None:
    asked = request("hello.localhost")
    assert place.resolver.cached(asked) is None
    first = await place.resolver.resolve(asked)
    assert place.resolver.cached(asked) == first
    assert (first.version_id, first.plan, first.limits.cpu_ms) == ("hello-1", "pro", 20)
    await place.script(HELLO, 2)
    assert place.resolver.cached(asked) is None
    assert (await place.resolver.resolve(asked)).version_id == "hello-2"


async def test_a_missing_hostname_is_remembered_until_it_is_set(place: Place) -> None:
    asked = request("shop.example")
    for _ in range(2):
        with pytest.raises(NotConfigured):
            await place.resolver.resolve(asked)
    await place.hostname("shop.example", b'{"workerName":"hello"}')
    assert (await place.resolver.resolve(asked)).key == HELLO


async def test_what_memory_has_is_not_asked_for(place: Place) -> None:
    nowhere, named = request("shop.example"), request("shop.example", header="hello")
    assert place.resolver.asks(nowhere)
    with pytest.raises(NotConfigured):
        await place.resolver.resolve(nowhere)
    assert not place.resolver.asks(nowhere)
    assert place.resolver.asks(named)
    await place.resolver.resolve(named)
    assert not place.resolver.asks(named)
    await place.script(HELLO, 2)
    assert place.resolver.asks(named)
    assert not place.resolver.asks(nowhere)


async def test_the_record_of_the_seed_leads_to_its_worker(place: Place) -> None:
    record = b'{"workerName":"hello","namespace":"production","tenant":"hello","more":1}'
    await place.hostname("shop.example", record)
    assert (await place.resolver.resolve(request("shop.example"))).tenant == "hello"


async def test_an_unreadable_record_leads_nowhere(place: Place) -> None:
    await place.hostname("shop.example", b"not json")
    with pytest.raises(NotConfigured):
        await place.resolver.resolve(request("shop.example"))


async def test_a_hostname_of_another_tenant_does_not_reach_a_script(place: Place) -> None:
    await place.hostname("shop.example", b'{"workerName":"hello","tenant":"somebody"}')
    with pytest.raises(ScriptNotFound):
        await place.resolver.resolve(request("shop.example"))
    assert place.resolver.cached(request("shop.example")) is None


async def test_an_unknown_plan_is_the_default_one(place: Place) -> None:
    await place.store.put("plan:hello", b"gold")
    place.resolver.tenant_changed("hello")
    route = await place.resolver.resolve(request("hello.localhost"))
    assert (route.plan, route.limits.cpu_ms) == ("free", 10)


async def test_a_scripts_own_limits_lower_and_never_raise(place: Place) -> None:
    await place.script(HELLO, 2, cpu_ms=5, subrequests=500)
    limits = (await place.resolver.resolve(request("hello.localhost"))).limits
    assert (limits.cpu_ms, limits.subrequests) == (5, 20)


async def test_suspension_is_in_force_at_once(place: Place) -> None:
    asked = request("hello.localhost")
    await place.resolver.resolve(asked)
    await place.tenant("hello", status="suspended")
    assert (await place.resolver.resolve(asked)).status is TenantStatus.SUSPENDED


async def test_functions_are_mounted_below_customer_and_function(place: Place) -> None:
    await place.tenant("acme")
    await place.script(ScriptKey("production", "acme-hello"))
    route = await place.resolver.resolve(request("fn.example", b"/acme/hello/a/b"))
    assert (route.key.name, route.mount) == ("acme-hello", "/acme/hello")
    again = place.resolver.cached(request("fn.example", b"/acme/hello/other"))
    assert again is not None
    assert again.mount == "/acme/hello"
    for path in (
        b"/",
        b"/acme",
        b"/acme/",
        b"//hello",
        b"/acme/nope",
        b"/%61cme/hello",
        b"/\xff/x",
    ):
        with pytest.raises(NotConfigured):
            await place.resolver.resolve(request("fn.example", path))


async def test_the_tenant_header_counts_when_the_host_says_nothing(place: Place) -> None:
    assert (await place.resolver.resolve(request("x.example", header="hello"))).key == HELLO
    with pytest.raises(NotConfigured):
        await place.resolver.resolve(request("x.example", header="../etc"))
    assert place.resolver.cached(request("x.example")) is None


async def test_a_change_during_a_lookup_is_not_overwritten_by_what_was_read(place: Place) -> None:
    asked = request("hello.localhost")
    looking = asyncio.create_task(place.resolver.resolve(asked))
    await asyncio.sleep(0)  # The first read of the store is under way.
    place.resolver.everything_changed()
    await looking
    assert place.resolver.cached(asked) is None
    await place.resolver.resolve(asked)
    assert place.resolver.cached(asked) is not None


async def test_memory_stays_bounded_whatever_is_asked(place: Place) -> None:
    for number in range(1500):
        with pytest.raises(NotConfigured):
            await place.resolver.resolve(request(f"n{number}.example"))
    assert len(place.resolver._targets) <= 1000
