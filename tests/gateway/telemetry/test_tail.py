"""The tail hub: who hears what, and that nobody who listens can hold up who serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack

import anyio
import pytest

from gateway.model.invocation import Invocation
from gateway.telemetry import tail
from gateway.telemetry.tail import TailFull, TailHub
from sandbox.payloads import LogRecord

pytestmark = pytest.mark.anyio
Build = Callable[..., Invocation]


async def test_a_listener_hears_its_script_only(build: Build) -> None:
    hub = TailHub()
    async with hub.subscribe(script="acme-shop") as mine:
        hub.invocation(build(script="other"))
        hub.invocation(build(script=None))
        hub.invocation(build())
        hub.close()
        heard = [json.loads(item) async for item in mine]
    assert [item["scriptName"] for item in heard] == ["acme-shop"]


async def test_by_tenant_by_namespace_by_all(build: Build) -> None:
    hub = TailHub()
    async with AsyncExitStack() as stack:
        listeners = {
            name: await stack.enter_async_context(subscription)
            for name, subscription in {
                "tenant": hub.subscribe(tenant="acme"),
                "namespace": hub.subscribe(namespace="production"),
                "both": hub.subscribe(namespace="production", script="acme-shop"),
                "elsewhere": hub.subscribe(namespace="staging", script="acme-shop"),
                "all": hub.subscribe(),
            }.items()
        }
        hub.invocation(build())
        hub.invocation(build(script="x", tenant="other"))
        hub.invocation(build(script=None))
        hub.close()
        heard = {
            name: [json.loads(item)["scriptName"] async for item in listener]
            for name, listener in listeners.items()
        }
    assert heard == {
        "tenant": ["acme-shop"],
        "namespace": ["acme-shop", "x"],
        "both": ["acme-shop"],
        "elsewhere": [],
        "all": ["acme-shop", "x", None],
    }


async def test_a_waiting_listener_wakes(build: Build) -> None:
    hub = TailHub()
    heard: list[bytes] = []
    async with hub.subscribe(script="acme-shop") as mine, anyio.create_task_group() as tasks:

        async def listen() -> None:
            heard.extend([item async for item in mine])

        tasks.start_soon(listen)
        await anyio.lowlevel.checkpoint()
        hub.invocation(build())
        await anyio.lowlevel.checkpoint()
        hub.invocation(build())
        hub.close()
    assert len(heard) == 2


async def test_a_slow_listener_loses_the_oldest_and_is_told(build: Build) -> None:
    hub = TailHub()
    async with hub.subscribe(script="acme-shop") as mine:
        for number in range(tail.MAX_QUEUED + 7):
            hub.invocation(build(status=200 + number % 300, timestamp_ms=number))
        hub.close()
        heard = [json.loads(item)["eventTimestamp"] async for item in mine]
    assert mine.dropped == 7
    assert heard == list(range(7, tail.MAX_QUEUED + 7))


async def test_large_items_do_not_fill_the_memory(build: Build) -> None:
    hub = TailHub()
    large = [LogRecord("log", 1, ["x" * (1 << 20)])]
    async with hub.subscribe(script="acme-shop") as mine:
        for _ in range(20):
            hub.invocation(build(logs=large))
        hub.close()
        held = sum([len(item) async for item in mine])
    assert held <= tail.MAX_QUEUED_BYTES
    assert mine.dropped > 0


async def test_only_so_many_may_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = TailHub()
    async with AsyncExitStack() as stack:
        for _ in range(tail.MAX_PER_TOPIC):
            await stack.enter_async_context(hub.subscribe(script="acme-shop"))
        with pytest.raises(TailFull):
            hub.subscribe(script="acme-shop")
        await stack.enter_async_context(hub.subscribe(script="other"))
        monkeypatch.setattr(tail, "MAX_SUBSCRIPTIONS", tail.MAX_PER_TOPIC + 1)
        with pytest.raises(TailFull):
            hub.subscribe(script="third")
    assert hub.listeners == 0
    async with hub.subscribe(script="acme-shop"):
        assert hub.listeners == 1


async def test_room_is_checked_again_on_entering() -> None:
    hub = TailHub()
    waiting = [hub.subscribe(script="s") for _ in range(tail.MAX_PER_TOPIC + 1)]
    async with AsyncExitStack() as stack:
        for subscription in waiting[:-1]:
            await stack.enter_async_context(subscription)
        with pytest.raises(TailFull):
            await stack.enter_async_context(waiting[-1])
    assert hub.listeners == 0


async def test_nothing_is_written_when_nobody_listens(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Invocation] = []

    def write(invocation: Invocation) -> bytes:
        written.append(invocation)
        return b"{}"

    monkeypatch.setattr(tail, "trace_item", write)
    hub = TailHub()
    hub.invocation(build())
    async with hub.subscribe(script="other"):
        hub.invocation(build())
    hub.invocation(build())
    assert not written
    async with hub.subscribe(script="acme-shop"), hub.subscribe(tenant="acme"):
        hub.invocation(build())
    assert len(written) == 1


async def test_a_hub_that_is_closed_ends_late_listeners(build: Build) -> None:
    hub = TailHub()
    hub.close()
    async with hub.subscribe(script="acme-shop") as mine:
        assert [item async for item in mine] == []


async def test_a_turn_gives_so_many_bytes_to_all_who_listen() -> None:
    hub, item, items = TailHub(), b"x" * (tail.A_TURN // 2), 4
    given = 0

    async def listen(listener: tail.TailSubscription) -> None:
        nonlocal given
        async for each in listener:
            given += len(each)

    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(hub.subscribe(script="acme-shop"))
            for _ in range(tail.MAX_PER_TOPIC)
        ]
        for listener in listeners:
            for _ in range(items):
                listener.put(item)
        hub.close()
        whole = len(listeners) * items * len(item)
        async with anyio.create_task_group() as group:
            for listener in listeners:
                group.start_soon(listen, listener)
            turns = 0
            while given < whole:
                before, turns = given, turns + 1
                await asyncio.sleep(0)
                # What is given before the turn ends, and what after.
                assert given - before <= 2 * (tail.A_TURN + len(item))
    assert turns >= whole // (2 * (tail.A_TURN + len(item)))
    assert hub.waiting == 0


async def test_who_stops_listening_while_waiting_for_a_turn_holds_up_nobody() -> None:
    hub = TailHub()

    async def both(listener: tail.TailSubscription) -> None:
        for _ in range(2):
            await anext(listener)

    async with hub.subscribe(script="acme-shop") as first, hub.subscribe() as second:
        for listener in (first, second):
            listener.put(b"x" * tail.A_TURN)
            listener.put(b"last")
        gone = asyncio.create_task(both(first))
        await asyncio.sleep(0)  # it has the first item, and waits for the turn of the second
        gone.cancel()
        assert len(await anext(second)) == tail.A_TURN
        assert await anext(second) == b"last"
        assert await anext(first) == b"last"


async def test_what_waits_is_had_at_once_as_far_as_the_turn_gives() -> None:
    hub = TailHub()
    async with hub.subscribe() as listener:
        for number in range(5):
            listener.put(b"%d" % number)
        assert await anext(listener) == b"0"
        assert listener.more() == [b"1", b"2", b"3", b"4"]
        assert listener.more() == []
        for _ in range(5):
            listener.put(b"x" * (tail.A_TURN // 2))
        assert len(listener.more()) == 2
        assert listener.more() == []
        assert len(await anext(listener)) == tail.A_TURN // 2
