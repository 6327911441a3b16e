"""What one tenant holds is not what another waits for."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator

import anyio
import pytest

from gateway.bindings import egress, outbound
from gateway.bindings.egress import NAMES_EACH, SystemResolver
from gateway.bindings.hops import Hops
from gateway.bindings.outbound import Outbound, OutboundError
from gateway.bindings.shares import Shares, Turns
from gateway.config import Egress
from sandbox.payloads import FetchHead

from .conftest import Origin

pytestmark = pytest.mark.anyio


async def test_who_has_its_share_waits_for_itself_alone_and_in_order() -> None:
    shares, served = Shares(1), list[str]()

    async def take(owner: str, name: str) -> None:
        await shares.take(owner)
        served.append(name)

    await take("greedy", "first")
    waiting = [asyncio.create_task(take("greedy", name)) for name in ("second", "third", "fourth")]
    await asyncio.sleep(0)
    await take("other", "other's")
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    shares.give("greedy")
    await waiting[1]
    assert served == ["first", "other's", "third"]
    shares.give("greedy")
    await waiting[2]
    shares.give("greedy")
    shares.give("other")
    assert repr(shares) == "<Shares, 0 held by 0>"


async def test_what_was_given_to_one_that_has_gone_is_given_on() -> None:
    shares = Shares(1)
    await shares.take("a")
    leaving = asyncio.create_task(shares.take("a"))
    staying = asyncio.create_task(shares.take("a"))
    await asyncio.sleep(0)
    shares.give("a")
    leaving.cancel()
    await staying
    shares.give("a")
    assert repr(shares) == "<Shares, 0 held by 0>"


async def test_a_tenant_begins_once_in_a_turn_of_the_loop() -> None:
    turns, begun = Turns(), list[str]()

    async def begin(owner: str) -> None:
        await turns.wait(owner)
        begun.append(owner)

    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(begin("crowd")) for _ in range(50)]
        group.create_task(begin("other"))
        crowd[25].cancel()
    assert begun.index("other") < 3
    assert begun.count("crowd") == 49


@pytest.fixture
async def silent_names(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[threading.Semaphore]:
    """Names below ``silent`` are looked up for as long as the test; each such thread is told of."""
    asked, over, look_up = threading.Semaphore(0), threading.Event(), socket.getaddrinfo

    def slow(host: str, *arguments: object, **more: object) -> object:
        if host.endswith(".silent"):
            asked.release()
            over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return look_up(host, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    yield asked
    over.set()


async def test_names_that_never_resolve_keep_nobody_elses_from_it(
    silent_names: threading.Semaphore, origin: Origin
) -> None:
    resolver = SystemResolver()
    egress.owner.set("greedy")
    lookups = [
        asyncio.create_task(resolver.resolve(f"{number}.silent", 80)) for number in range(200)
    ]
    for _ in range(NAMES_EACH):
        await asyncio.to_thread(silent_names.acquire)
    # That nobody waits any more gives no thread back.
    for lookup in lookups[: NAMES_EACH + 1]:
        lookup.cancel()
    await asyncio.wait(lookups[: NAMES_EACH + 1])
    egress.owner.set("other")
    assert await resolver.resolve("127.0.0.1", 80) == ["127.0.0.1"]
    assert not silent_names.acquire(blocking=False)
    for lookup in lookups:
        lookup.cancel()
    await asyncio.wait(lookups)
    resolver.close()


async def test_connections_are_a_tenants_share_until_they_are_closed(
    monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    monkeypatch.setattr(outbound, "CONNECTIONS_EACH", 1)
    config = Egress(allow_private=True, timeout_seconds=5.0)
    out = Outbound(config, hops=Hops(b"key"))
    head = FetchHead(0, "GET", origin.url, [])
    held = await out.fetch(head, None, tenant="greedy")
    second = asyncio.create_task(out.fetch(head, None, tenant="greedy"))
    other = await out.fetch(head, None, tenant="other")
    await other.close()
    assert not second.done()
    await held.close()
    await held.close()
    await (await second).close()
    with pytest.raises(OutboundError, match="does not accept"):
        await out.fetch(FetchHead(0, "GET", "http://127.0.0.1:1/", []), None, tenant="greedy")
    with anyio.fail_after(5):
        await (await out.fetch(head, None, tenant="greedy")).close()
    await out.close()


async def test_who_waits_too_long_for_its_own_is_told(
    monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    monkeypatch.setattr(outbound, "CONNECTIONS_EACH", 1)
    out = Outbound(Egress(allow_private=True, timeout_seconds=1.0), hops=Hops(b"key"))
    head = FetchHead(0, "GET", origin.url, [])
    held = await out.fetch(head, None, tenant="greedy")
    with pytest.raises(OutboundError) as caught:
        await out.fetch(head, None, tenant="greedy")
    assert caught.value.code == "timeout"
    await held.close()
    await out.close()
