"""A hostile instance on the wire: every lie ends that instance, none touches anything else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.pool.channel import LINE_COST, PACE_UNITS, STALE_NS, UNIT_NS, Channel
from gateway.pool.exchange import LOG_BYTES, MAX_LOG_CONTAINERS, Exchange
from gateway.pool.subrequests import WireSubrequests
from sandbox import ProtocolError, protocol
from sandbox.protocol import (
    ExceptionRecord,
    Failed,
    FetchedHead,
    FetchHead,
    FrameType,
    LogRecord,
    Ready,
    ResponseHead,
)

pytestmark = pytest.mark.anyio

REQUEST = Request(
    ray="r",
    method="GET",
    scheme="http",
    host="h",
    authority="h",
    path=b"/",
    query=b"",
    headers=[],
    client=None,
    accept="",
)
ROUTE = Route(
    key=ScriptKey("production", "acme"),
    tenant="acme",
    version_id="v",
    plan="free",
    limits=Limits(subrequests=2),
    status=TenantStatus.ACTIVE,
)


class ScriptedAnswer:
    """The answer of an origin that says ``origin``."""

    head = FetchedHead(200, "OK", [], "http://origin/", False)

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"origin"

    async def close(self) -> None:
        """Nothing is held."""


class ScriptedOrigin:
    """Performs subrequests without a network."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, head: FetchHead, body: AsyncIterator[bytes] | None) -> ScriptedAnswer:
        self.asked.append(head.url)
        return ScriptedAnswer()


class Wire:
    """A channel, and the instance's end of its wire."""

    def __init__(self) -> None:
        self.broken: asyncio.Future[ProtocolError | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.loaded: list[Ready | Failed] = []
        self.raised: list[ExceptionRecord] = []
        self.origin = ScriptedOrigin()
        self.cpu_ns = 0
        self.channel = Channel(
            on_ready=self.loaded.append,
            on_broken=self.broken.set_result,
            on_exception=lambda _, record: self.raised.append(record),
            cpu_ns=lambda: self.cpu_ns,
        )
        self.channel.subrequests = WireSubrequests(self.channel, self.origin)

    async def connect(self) -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.instance = theirs
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.channel, sock=ours)

    def open(self) -> Exchange:
        return self.channel.open(REQUEST, ROUTE)

    async def say(self, *data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.instance, b"".join(data))

    async def hear(self) -> list[protocol.Frame]:
        data = await asyncio.get_running_loop().sock_recv(self.instance, 1 << 20)
        return protocol.Decoder(protocol.FROM_GATEWAY).feed(data)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    await made.connect()
    yield made
    made.channel.close()
    made.instance.close()
    await asyncio.sleep(0)


def response(stream: int, *, flags: int = 0) -> bytes:
    return protocol.encode_struct(FrameType.RESPONSE, stream, ResponseHead(200, []), flags)


def body(stream: int, data: bytes = b"x", *, end: bool = True) -> bytes:
    return protocol.encode(FrameType.BODY, stream, data, protocol.END if end else 0)


def done(stream: int) -> bytes:
    return protocol.encode(FrameType.DONE, stream)


async def test_a_whole_answer_arrives_in_order(wire: Wire) -> None:
    exchange = wire.open()
    await wire.say(
        response(exchange.stream), body(exchange.stream, b"hello"), done(exchange.stream)
    )
    assert (await exchange.response()).status == 200
    assert await exchange.next_chunk() == b"hello"
    assert await exchange.next_chunk() is None
    await exchange.finished()


LIES = {
    "garbage": lambda s: b"\xff" * 64,
    "a frame that announces 4 GiB": lambda s: b"\xff\xff\xff\xff\x07" + b"\0" * 7,
    "a second head": lambda s: response(s) + response(s),
    "a body before the head": lambda s: body(s),
    "a body after its end": lambda s: response(s) + body(s) + body(s),
    "done without an answer": lambda s: done(s),
    "done in the middle of a body": lambda s: response(s) + body(s, end=False) + done(s),
    "an answer to a request that never was": lambda s: response(s + 100),
    "ready on a stream": lambda s: protocol.encode_struct(
        FrameType.READY, s, Ready("worker", True, [])
    ),
    "more than its credit": lambda s: (
        response(s)
        + body(s, b"x" * protocol.CHUNK, end=False) * (protocol.WINDOW // protocol.CHUNK + 1)
    ),
    "credit for what was never sent": lambda s: protocol.encode_credit(s, 1),
    "malformed credit": lambda s: protocol.encode(FrameType.CREDIT, s, b"1"),
    "a malformed head": lambda s: protocol.encode(FrameType.RESPONSE, s, b"\xc1"),
    "a body on a subrequest after its end": lambda s: (
        protocol.encode_struct(
            FrameType.FETCH, 1, FetchHead(s, "GET", "http://origin/", []), protocol.END
        )
        + body(1)
    ),
    "a subrequest on a stream in use": lambda s: (
        protocol.encode_struct(FrameType.FETCH, 1, FetchHead(s, "GET", "http://origin/", [])) * 2
    ),
    "subrequests without end": lambda s: b"".join(
        protocol.encode_struct(
            FrameType.FETCH, n, FetchHead(s, "GET", "http://origin/", []), protocol.END
        )
        for n in range(1, 2400, 2)
    ),
    "subrequests without end for nobody": lambda s: b"".join(
        protocol.encode_struct(
            FrameType.FETCH, n, FetchHead(s + 2, "GET", "http://origin/", []), protocol.END
        )
        for n in range(1, 2400, 2)
    ),
    "done on stream 0": lambda s: done(0),
    "hello again": lambda s: protocol.encode_struct(FrameType.HELLO, 0, protocol.Hello(1)),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_breaks_the_channel_and_names_itself(wire: Wire, lie: str) -> None:
    exchange = wire.open()
    await wire.say(LIES[lie](exchange.stream))
    error = await asyncio.wait_for(wire.broken, 5)
    assert isinstance(error, ProtocolError), lie
    assert str(error)
    assert wire.channel.closed


async def test_frames_of_an_invocation_that_is_over_are_ignored(wire: Wire) -> None:
    exchange = wire.open()
    wire.channel.forget(exchange)
    other = wire.open()
    await wire.say(response(exchange.stream), body(exchange.stream), response(other.stream))
    assert (await other.response()).status == 200
    assert exchange.head is None


async def test_an_instance_that_hangs_up_breaks_the_channel_without_blame(wire: Wire) -> None:
    wire.instance.shutdown(socket.SHUT_RDWR)
    assert await asyncio.wait_for(wire.broken, 5) is None


async def test_a_log_flood_is_cut_and_said(wire: Wire) -> None:
    exchange = wire.open()
    line = protocol.encode_struct(
        FrameType.LOG, exchange.stream, LogRecord("log", 0, ["x" * 10_000])
    )
    for _ in range(40):
        await wire.say(line)
    await wire.say(response(exchange.stream), body(exchange.stream), done(exchange.stream))
    await exchange.finished()
    assert exchange.truncated
    assert sum(len(record.message[0]) for record in exchange.logs) <= LOG_BYTES


@pytest.mark.parametrize("nanoseconds", [0, 2 * PACE_UNITS * UNIT_NS + STALE_NS])
async def test_frames_that_cost_their_sender_nothing_break_the_channel(
    wire: Wire, nanoseconds: int
) -> None:
    exchange = wire.open()
    wire.cpu_ns = nanoseconds
    nothing = protocol.encode_credit(exchange.stream, 0)
    flood = nothing * (PACE_UNITS + STALE_NS // UNIT_NS)
    with contextlib.suppress(BrokenPipeError):
        await wire.say(flood, response(exchange.stream), body(exchange.stream))
    if nanoseconds:
        assert await asyncio.wait_for(exchange.next_chunk(), 5) == b"x"
        return
    error = await asyncio.wait_for(wire.broken, 5)
    assert "faster than code" in str(error)


@pytest.mark.parametrize("parts", [100, MAX_LOG_CONTAINERS + 1])
async def test_a_log_record_of_a_great_many_parts_is_refused(wire: Wire, parts: int) -> None:
    exchange = wire.open()
    record = LogRecord("log", 0, [[{"a": []}] * (parts // 2)])
    await wire.say(protocol.encode_struct(FrameType.LOG, exchange.stream, record))
    if parts == 100:
        await wire.say(response(exchange.stream), body(exchange.stream))
        assert await exchange.next_chunk() == b"x"
        assert exchange.logs == [record]
        return
    error = await asyncio.wait_for(wire.broken, 5)
    assert "too many parts" in str(error)
    assert exchange.logs == []


async def test_empty_lines_in_the_log_pipe_are_counted(wire: Wire) -> None:
    exchange = wire.open()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        wire.channel.watch_log(reader)
        os.write(writer, b"\n" * 60_000)
        wire.instance.shutdown(socket.SHUT_RDWR)
        assert await asyncio.wait_for(wire.broken, 5) is None
        assert exchange.truncated
        assert len(exchange.logs) <= LOG_BYTES // LINE_COST
    finally:
        wire.channel.close()
        os.close(reader)
        os.close(writer)


async def test_subrequests_are_counted_and_refused_outside_the_instance(wire: Wire) -> None:
    exchange = wire.open()
    for stream in (1, 3, 5):
        head = FetchHead(exchange.stream, "GET", f"http://origin/{stream}", [])
        await wire.say(protocol.encode_struct(FrameType.FETCH, stream, head, protocol.END))
    heard: dict[int, list[int]] = {1: [], 3: [], 5: []}
    while len(heard[1]) + len(heard[3]) + len(heard[5]) < 7:
        for frame in await wire.hear():
            heard[frame.stream].append(frame.type)
    fetched = [FrameType.FETCHED, FrameType.BODY, FrameType.BODY]
    assert heard == {1: fetched, 3: fetched, 5: [FrameType.FETCH_ERROR]}
    assert exchange.subrequests == 3
    assert sorted(wire.origin.asked) == ["http://origin/1", "http://origin/3"]


async def test_a_subrequest_for_an_invocation_that_is_over_is_refused(wire: Wire) -> None:
    exchange = wire.open()
    wire.channel.forget(exchange)
    head = FetchHead(exchange.stream, "GET", "http://origin/", [])
    await wire.say(protocol.encode_struct(FrameType.FETCH, 1, head, protocol.END))
    (frame,) = await wire.hear()
    assert frame.type == FrameType.FETCH_ERROR
    assert wire.origin.asked == []


async def test_what_is_consumed_gives_credit_back(wire: Wire) -> None:
    exchange = wire.open()
    half = protocol.WINDOW // 2
    chunks = [body(exchange.stream, b"x" * protocol.CHUNK, end=False)] * (half // protocol.CHUNK)
    await wire.say(response(exchange.stream), *chunks)
    await exchange.response()
    taken = 0
    while taken < half:
        taken += len(await exchange.next_chunk() or b"")
    (frame,) = await wire.hear()
    assert (frame.type, frame.stream) == (FrameType.CREDIT, exchange.stream)
    assert protocol.decode_credit(frame.payload) == half
