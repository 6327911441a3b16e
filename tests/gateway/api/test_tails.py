"""Live tails: the event stream itself, and over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from gateway.api.tails import events
from tests.support.control import OPERATOR, Control, ScriptedTail

pytestmark = pytest.mark.anyio


async def test_items_one_a_message() -> None:
    tail = ScriptedTail()
    tail.items = [b'{"a":1}', b'{"b":\n2}']
    stream = [chunk async for chunk in events(tail.subscribe(script="acme-x", tenant="acme"), 5)]
    assert stream == [b": waypost tail\n\n", b'data: {"a":1}\n\n', b'data: {"b": 2}\n\n']
    assert tail.subscribed == [("acme-x", "acme")]
    assert tail.open == 0


async def test_idle_tail_stays_alive_and_lets_go_when_closed() -> None:
    tail = ScriptedTail()
    tail.items, tail.ends = [], False
    stream = events(tail.subscribe(tenant="acme"), 0.01)
    assert await anext(stream) == b": waypost tail\n\n"
    assert await anext(stream) == b": alive\n\n"
    assert await anext(stream) == b": alive\n\n"
    assert tail.open == 1
    await stream.aclose()
    assert tail.open == 0


async def test_lost_items_are_told_once() -> None:
    tail = ScriptedTail()
    tail.dropped = 3
    tail.items = [b"1", b"2"]
    stream = [chunk async for chunk in events(tail.subscribe(tenant="acme"), 5)]
    assert stream[1:] == [
        b'event: dropped\ndata: {"dropped":3}\n\n',
        b"data: 1\n\n",
        b"data: 2\n\n",
    ]


@asynccontextmanager
async def served(control: Control) -> AsyncIterator[str]:
    config = uvicorn.Config(control.app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    sockets = [config.bind_socket()]
    task = asyncio.create_task(server.serve(sockets))
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def test_a_client_that_leaves_is_unsubscribed(control: Control) -> None:
    await control.tenant("acme")
    control.tail.ends = False
    async with served(control) as base, httpx.AsyncClient(base_url=base) as client:
        headers = {"authorization": f"Bearer {OPERATOR}"}
        async with client.stream("GET", "/v1/tenants/acme/tail", headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    break
        assert control.tail.subscribed == [(None, "acme")]
        await asyncio.wait_for(control.tail.left.wait(), 5)
    assert control.tail.open == 0


async def test_too_many_listeners_are_told_before_the_stream_starts(control: Control) -> None:
    await control.tenant("acme")
    control.tail.full = True
    async with control.client() as client:
        response = await client.get("/v1/tenants/acme/tail")
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "too_many_tails"
