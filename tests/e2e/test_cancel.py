"""Whoever leaves, and whenever: nothing of the request stays behind, and what is cut looks cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, Listen
from gateway.edge.cycle import UPGRADE
from gateway.model.script import ScriptKey
from gateway.model.websocket import UNPACED, Part
from sandbox.payloads import Close
from tests.support.node import OPERATOR_TOKEN, LiveNode
from tests.support.observed import Observed
from tests.support.raw import wire
from tests.support.requests import a_scope

WORKER = """
from workers import Response, WorkerEntrypoint, fetch

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        body = await request.bytes()
        if request.url.endswith("/inner"):
            return Response("inner")
        inner = await fetch("http://both.localhost/inner")
        async def chunks():
            for _ in range(8):
                yield body[:65536]
            yield await inner.bytes()
        return Response(chunks())

    async def scheduled(self, controller):
        inner = await fetch("http://both.localhost/inner")
        self.ctx.waitUntil(inner.bytes())
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        return
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(8):
        await send({"type": "http.response.body", "body": body[:65536], "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})
"""


@asynccontextmanager
async def observed(data_dir: Path) -> AsyncIterator[Observed]:
    node = Observed(Config(listen=Listen(port=0), api=Listen(port=0), data_dir=str(data_dir)))
    async with node.running({"WAYPOST_OPERATOR_TOKEN": OPERATOR_TOKEN}) as started:
        live = LiveNode(started, node)
        try:
            for name, source in (("both", WORKER), ("plain", ASGI)):
                await asyncio.to_thread(partial(live.deploy, name, source, plan="enterprise"))
            yield node
        finally:
            live.close()


Begin = Callable[[Observed, str, list[bytes]], Coroutine[Any, Any, None]]
"""Makes work of a node, by a script of that name, that collects what came of it."""


class CancelledAt:
    """Runs a coroutine in a task that is cancelled at its nth suspension."""

    def __init__(self, work: Coroutine[Any, Any, None], at: int) -> None:
        self._work = work
        self._at = at
        self.suspensions = 0

    async def run(self) -> None:
        task = asyncio.create_task(self._main())
        await asyncio.wait([task], timeout=20)
        assert task.done(), f"stuck when cancelled at suspension {self._at}"
        if not task.cancelled():
            task.result()

    async def _main(self) -> None:
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        assert task is not None
        step = partial(self._work.send, None)
        while True:
            try:
                future = step()
            except StopIteration:
                return
            self.suspensions += 1
            if self.suspensions == self._at:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield future
                step = partial(self._work.send, None)
            except BaseException as error:
                step = partial(self._work.throw, error)


def request(node: Observed, name: str, sent: list[bytes]) -> Coroutine[Any, Any, None]:
    """A request whose body comes in pieces, and whose client waits before it takes a piece."""
    pieces = [b"x" * 50_000] * 6
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        sent.append(message.get("body", b""))

    headers = [(b"host", f"{name}.localhost".encode()), (b"transfer-encoding", b"chunked")]
    scope = a_scope("POST", headers)
    assert node.rooms is not None
    return node.rooms.edge(scope, receive, send)


class Talk:
    """A client that has some messages echoed, takes its time over each, and closes."""

    def __init__(self, got: list[bytes]) -> None:
        self.pace: Any = UNPACED
        self.pinged = False
        self.over: Close | None = None
        self.on_over: Callable[[], None] = lambda: None
        self._got = got
        self._left = [Part(False, b"x" * 50_000, True)] * 6
        self._echoed = asyncio.Event()

    def open_socket(self, head: bytes, max_message: int, *, masked: bool = True) -> Talk:
        return self

    async def receive(self) -> Part | Close:
        await asyncio.sleep(0)
        if self._left:
            return self._left.pop()
        await self._echoed.wait()
        return self._end(1000)

    async def send(self, part: Part) -> None:
        await asyncio.sleep(0)
        self._got.append(part.data)
        if sum(map(len, self._got)) == 6 * 50_000:
            self._echoed.set()

    def close(self, code: int, reason: str) -> None:
        self._end(code)
        self._echoed.set()

    def _end(self, code: int) -> Close:
        if self.over is None:
            self.over = Close(code, "")
            self.on_over()
        return self.over


def talk(node: Observed, name: str, got: list[bytes]) -> Coroutine[Any, Any, None]:
    """A request that becomes a WebSocket."""

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError(message)

    headers = [
        (b"host", f"{name}.localhost".encode()),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    scope = a_scope("GET", headers, **{UPGRADE: Talk(got)})
    assert node.rooms is not None
    return node.rooms.edge(scope, receive, send)


async def due(node: Observed, name: str, called: list[bytes]) -> None:
    """A schedule of a script is due."""
    assert node.scheduler is not None
    done = await node.scheduler.call(ScriptKey("production", name), "* * * * *", 0)
    called.append(done.outcome.encode())


async def nothing_held(node: Observed, at: int, tasks: int = 1 << 30) -> None:
    """Wait until all is given back, as it must be in moments, and as few tasks are left."""
    for _ in range(4000):
        held = {what: found for what, found in node.held().items() if found}
        if not held and len(asyncio.all_tasks()) <= tasks:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"at suspension {at}: still held: {held}, {asyncio.all_tasks()}")


def whole(sent: list[bytes]) -> bool:
    return sum(map(len, sent)) > 8 * 50_000


def echoed(sent: list[bytes]) -> bool:
    return b"".join(sent) == b"x" * 6 * 50_000


def went_well(sent: list[bytes]) -> bool:
    return sent == [b"ok"]


async def cancel_everywhere(
    node: Observed, begin: Begin, name: str, complete: Callable[[list[bytes]], bool], *, cold: bool
) -> int:
    """Cancel it at each suspension in turn, until it is through before; how many there were."""
    # The first one through fills the caches.
    await begin(node, name, [])
    await nothing_held(node, 0)
    at, tasks = 0, len(asyncio.all_tasks())
    while True:
        at += 1
        if cold:
            node.forget()
        sent: list[bytes] = []
        work = CancelledAt(begin(node, name, sent), at)
        await work.run()
        await nothing_held(node, at, tasks + 2)
        if work.suspensions < at:
            assert complete(sent)
            return at


@pytest.mark.parametrize(
    ("begin", "name", "complete", "least"),
    [
        # Far fewer than there mostly are: what comes together is awaited once.
        (request, "both", whole, 6),
        (request, "plain", whole, 6),
        (talk, "plain", echoed, 5),
        (due, "both", went_well, 1),
    ],
)
def test_cancelled_at_every_await_nothing_stays_behind(
    tmp_path: Path, begin: Begin, name: str, complete: Callable[[list[bytes]], bool], least: int
) -> None:
    async def main() -> None:
        async with observed(tmp_path) as node:
            for cold in (False, True):
                assert await cancel_everywhere(node, begin, name, complete, cold=cold) > least

    asyncio.run(main())


DYING = """
import asyncio, os
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.partition("localhost")[2]
        async def chunks():
            yield b"x" * 1000
            await asyncio.sleep(0.05)
            if "raise" in path:
                raise RuntimeError("within the stream")
            os._exit(3)
        return Response(chunks(), headers={"content-length": "5000"} if "length" in path else {})
"""
STAYING = """
import asyncio
from workers import Response, WorkerEntrypoint

async def afterwards():
    await asyncio.sleep(0.5)
    print("afterwards")

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        self.ctx.waitUntil(afterwards())
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            print("cancelled")
            raise
"""
LISTENING = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    while (message := await receive())["type"] != "http.disconnect":
        pass
    print("disconnected")
"""


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    for name, source in (("dying", DYING), ("staying", STAYING), ("listening", LISTENING)):
        node.deploy(name, source, plan="enterprise")
    return node.started.tenant_port


def get(name: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/chunked", "responseStreamDisconnected"),
        ("/length", "responseStreamDisconnected"),
        ("/chunked-raise", "exception"),
        ("/length-raise", "exception"),
    ],
)
def test_an_answer_whose_tenant_dies_within_it_never_looks_whole(
    node: LiveNode, port: int, path: str, outcome: str
) -> None:
    with node.tail("dying") as tail, wire(port) as connection:
        connection.send(get("dying", path))
        raw = connection.rest()
        (event,) = tail.wait()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"x" * 1000 in body
    if path.startswith("/length"):
        assert (b"content-length: 5000" in head.lower(), len(body)) == (True, 1000)
    else:
        assert not body.endswith(b"0\r\n\r\n")
    assert event["outcome"] == outcome
    assert event["exceptions"]


def test_what_waits_until_afterwards_is_finished_though_the_client_left(
    node: LiveNode, port: int
) -> None:
    with node.tail("staying") as tail:
        with wire(port) as connection:
            connection.reset_on_close()
            connection.send(get("staying"))
        (event,) = tail.wait()
    assert event["outcome"] == "canceled"
    assert [line["message"] for line in event["logs"]] == [["cancelled"], ["afterwards"]]


def test_an_asgi_application_is_told(node: LiveNode, port: int) -> None:
    with node.tail("listening") as tail:
        with wire(port) as connection:
            connection.reset_on_close()
            connection.send(get("listening"))
        (event,) = tail.wait()
    assert event["outcome"] == "canceled"
    assert [line["message"] for line in event["logs"]] == [["disconnected"]]
