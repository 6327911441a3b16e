"""Live tails: the event stream itself, and over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from gateway.accounts import Grant, Scope
from gateway.api.tails import events
from gateway.model.script import ScriptKey
from gateway.telemetry.endings import Watch
from tests.support.control import OPERATOR, Control, ScriptedTail, script_path, upload_parts

pytestmark = pytest.mark.anyio


def never() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_items_one_a_message() -> None:
    tail = ScriptedTail()
    tail.items = [b'{"a":1}', b'{"b":\n2}']
    stream = [
        chunk async for chunk in events(tail.subscribe(script="acme-x", tenant="acme"), 5, never())
    ]
    assert stream == [b": waypost tail\n\n", b'data: {"a":1}\n\n', b'data: {"b": 2}\n\n']
    assert tail.subscribed == [("acme-x", "acme")]
    assert tail.open == 0


async def test_idle_tail_stays_alive_and_lets_go_when_closed() -> None:
    tail = ScriptedTail()
    tail.items, tail.ends = [], False
    stream = events(tail.subscribe(tenant="acme"), 0.01, never())
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
    stream = [chunk async for chunk in events(tail.subscribe(tenant="acme"), 5, never())]
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
        await asyncio.wait_for(control.tail.left.wait(), 30)
    assert control.tail.open == 0


async def test_who_has_the_head_of_the_answer_is_listening(control: Control) -> None:
    await control.tenant("acme")
    control.tail.ends, control.tail.turns = False, 200
    async with served(control) as base, httpx.AsyncClient(base_url=base) as client:
        headers = {"authorization": f"Bearer {OPERATOR}"}
        async with client.stream("GET", "/v1/tenants/acme/tail", headers=headers) as response:
            assert response.status_code == 200
            assert control.tail.open == 1
        await asyncio.wait_for(control.tail.left.wait(), 30)


@pytest.mark.parametrize("when", ["full", "full_meanwhile"])
async def test_too_many_listeners_are_told_before_the_stream_starts(
    control: Control, when: str
) -> None:
    await control.tenant("acme")
    setattr(control.tail, when, True)
    async with control.client() as client:
        response = await client.get("/v1/tenants/acme/tail")
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "too_many_tails"


Ends = Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[httpx.Response]]


@pytest.mark.parametrize(
    ("path", "end", "reason"),
    [
        (
            "/v1/tenants/acme/tail",
            lambda client, token: client.delete(f"/v1/tenants/acme/tokens/{token['id']}"),
            "the token of this tail was revoked",
        ),
        (
            "/v1/scripts/acme/tail",
            lambda client, token: client.post(f"/v1/tenants/acme/tokens/{token['id']}/rotate"),
            "the token of this tail was revoked",
        ),
        (
            "/v1/scripts/acme/tail",
            lambda client, token: client.delete(script_path("acme")),
            "script acme was deleted",
        ),
        (
            "/v1/tenants/acme/tail",
            lambda client, token: client.delete("/v1/tenants/acme"),
            "tenant acme was removed",
        ),
    ],
)
async def test_a_tail_ends_with_what_it_needs_and_says_why(
    control: Control, operator: httpx.AsyncClient, path: str, end: Ends, reason: str
) -> None:
    await operator.put(script_path("acme"), files=upload_parts())
    issued = (await operator.post("/v1/tenants/acme/tokens", json={"scope": "tail"})).json()
    control.tail.items, control.tail.ends = [], False
    async with served(control) as base, httpx.AsyncClient(base_url=base) as client:
        headers = {"authorization": f"Bearer {issued['token']}"}
        async with client.stream("GET", path, headers=headers) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == ": waypost tail"
            assert (await end(operator, issued)).is_success
            said = [line async for line in lines if line]
    assert said == ["event: end", f'data: {{"reason":"{reason}"}}']
    assert control.tail.open == 0
    assert not control.services.endings.open


async def test_a_tail_ends_when_its_token_expires(control: Control) -> None:
    await control.tenant("acme")
    control.tail.items, control.tail.ends = [], False
    async with served(control) as base, httpx.AsyncClient(base_url=base) as client:
        # On a busy machine a token may be over before anybody asks with it.
        for lifetime_ms in (500, 5_000, 20_000):
            soon = time.time_ns() // 1_000_000 + lifetime_ms
            grant = Grant(scope=Scope.TAIL, expires_ms=soon)
            token = (await control.services.tokens.issue("acme", grant)).token
            headers = {"authorization": f"Bearer {token}"}
            async with client.stream("GET", "/v1/tenants/acme/tail", headers=headers) as response:
                said = [line async for line in response.aiter_lines() if line.startswith("data")]
            if response.status_code == 200:
                break
    assert said == ['data: {"reason":"the token of this tail has expired"}']
    assert time.time_ns() // 1_000_000 >= soon


async def test_other_tails_go_on(control: Control, operator: httpx.AsyncClient) -> None:
    def watch(token: str, tenant: str, script: str | None, namespace: str | None = None) -> Watch:
        return endings.watch(
            token_id=token, expires_ms=None, tenant=tenant, script=script, namespace=namespace
        )

    endings = control.services.endings
    gone = ScriptKey("production", "acme")
    others = (
        watch("t1", "acme", None),
        watch("t1", "acme", "acme-2"),
        watch("t1", "acme", "acme", "staging"),
    )
    with contextlib.ExitStack() as stack:
        meant = stack.enter_context(watch("t1", "acme", "acme"))
        for other in others:
            stack.enter_context(other)
        endings.script_removed(gone)
        endings.tenant_removed("beta")
        endings.token_revoked("t2")
        assert meant.ended.result() == "script acme was deleted"
        assert not any(other.ended.done() for other in others)
        endings.token_revoked("t1")
        assert all(other.ended.done() for other in others)
    assert not endings.open
