"""A hostile instance on the wire: every lie ends that instance, none touches anything else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.pool.channel import (
    AT_ONCE,
    MAX_KNOWN,
    PACE_UNITS,
    STALE_NS,
    UNIT_NS,
    Channel,
)
from gateway.pool.exchange import Exchange
from gateway.pool.logroom import LOG_BYTES, ROOM_PARTS
from gateway.pool.subrequests import WireSubrequests
from sandbox import ProtocolError, payloads, protocol
from sandbox.payloads import (
    ExceptionRecord,
    Failed,
    FetchedHead,
    FetchHead,
    LogRecord,
    Ready,
    ResponseHead,
)
from sandbox.protocol import FrameType

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
        self.seen: asyncio.Queue[str] = asyncio.Queue()
        self.answers: asyncio.Event | None = None
        """None: at once."""

    async def fetch(
        self, head: FetchHead, body: AsyncIterator[bytes] | None, *, hops: int, tenant: str
    ) -> ScriptedAnswer:
        self.asked.append(head.url)
        self.seen.put_nowait("asked")
        if self.answers is not None:
            try:
                await self.answers.wait()
            except asyncio.CancelledError:
                self.seen.put_nowait("cancelled")
                raise
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
    return payloads.encode_struct(FrameType.RESPONSE, stream, ResponseHead(200, []), flags)


def answer(stream: int, data: bytes = b"x", value: bytes = b"b") -> bytes:
    head = payloads.encode_metadata(ResponseHead(200, [(b"a", value)]))
    return protocol.encode_answer(stream, head, data)


def body(stream: int, data: bytes = b"x", *, end: bool = True) -> bytes:
    return protocol.encode(FrameType.BODY, stream, data, protocol.END if end else 0)


def log(stream: int) -> bytes:
    return payloads.encode_struct(FrameType.LOG, stream, LogRecord("log", 0, ["x"]))


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


async def test_an_answer_in_one_frame_is_the_same(wire: Wire) -> None:
    for body_bytes in (b"hello", b""):
        exchange = wire.open()
        await wire.say(answer(exchange.stream, body_bytes))
        assert (await exchange.response()).headers == [(b"a", b"b")]
        assert (await exchange.next_chunk() or b"") == body_bytes
        assert await exchange.next_chunk() is None
        await exchange.finished()
        wire.channel.forget(exchange)


async def test_many_different_heads_are_not_all_remembered(wire: Wire) -> None:
    for number in range(200):
        exchange = wire.open()
        await wire.say(answer(exchange.stream, b"", b"%d" % number))
        assert (await exchange.response()).headers == [(b"a", b"%d" % number)]
        wire.channel.forget(exchange)
    assert len(wire.channel._heads) <= MAX_KNOWN


async def test_others_have_their_turn_between_thousands_of_frames(wire: Wire) -> None:
    exchange, other = wire.open(), wire.open()
    stream = exchange.stream
    told = asyncio.Event()
    wire.channel.data_received(
        log(stream) * (3 * AT_ONCE) + response(stream) + body(stream, b"last") + done(stream)
    )
    assert AT_ONCE <= len(exchange.logs) < 2 * AT_ONCE
    # What comes meanwhile waits for what came before.
    await wire.say(response(other.stream) + body(other.stream) + done(other.stream))
    asyncio.get_running_loop().call_soon(told.set)
    await told.wait()
    assert len(exchange.logs) < 3 * AT_ONCE
    assert (await exchange.response()).status == 200
    assert await exchange.next_chunk() == b"last"
    await exchange.finished()
    await other.finished()
    assert not wire.broken.done()


async def test_what_waits_for_its_turn_is_forgotten_with_the_channel(wire: Wire) -> None:
    exchange = wire.open()
    wire.channel.data_received(log(exchange.stream) * (2 * AT_ONCE))
    taken = len(exchange.logs)
    wire.channel.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert AT_ONCE <= len(exchange.logs) == taken < 2 * AT_ONCE


async def test_what_comes_while_others_have_their_turn_is_not_overtaken(wire: Wire) -> None:
    exchange = wire.open()
    stream = exchange.stream
    wire.channel.data_received(log(stream) * (3 * AT_ONCE) + response(stream))
    wire.channel.data_received(body(stream, b"first") + done(stream)[:5])
    wire.channel.data_received(done(stream)[5:])
    assert (await exchange.response()).status == 200
    assert await exchange.next_chunk() == b"first"
    await exchange.finished()
    assert not wire.broken.done()


LIES = {
    "garbage": lambda s: b"\xff" * 64,
    "a frame that announces 4 GiB": lambda s: b"\xff\xff\xff\xff\x07" + b"\0" * 7,
    "an answer after a head": lambda s: response(s) + answer(s),
    "an answer after a body": lambda s: response(s) + body(s, end=False) + answer(s),
    "an answer that is shorter than it says": lambda s: protocol.encode(
        FrameType.ANSWER, s, b"\xff\0\0\0\x92\xcc\xc8\x90"
    ),
    "an answer that is empty": lambda s: protocol.encode(FrameType.ANSWER, s),
    "an answer without a head": lambda s: protocol.encode_answer(s, b"", b"body"),
    "an answer with a malformed head": lambda s: protocol.encode_answer(s, b"\xc1", b""),
    "an answer of many bytes": lambda s: answer(s, b"x" * (protocol.CHUNK + 1)),
    "an answer to nobody": lambda s: answer(s + 100),
    "an answer to a subrequest": lambda s: answer(1),
    "an answer of the connection's": lambda s: answer(0),
    "a second head": lambda s: response(s) + response(s),
    "a body before the head": lambda s: body(s),
    "a body after its end": lambda s: response(s) + body(s) + body(s),
    "done without an answer": lambda s: done(s),
    "done in the middle of a body": lambda s: response(s) + body(s, end=False) + done(s),
    "an answer to a request that never was": lambda s: response(s + 100),
    "ready on a stream": lambda s: payloads.encode_struct(
        FrameType.READY, s, Ready("worker", True, [])
    ),
    "more than its credit": lambda s: (
        response(s)
        + body(s, b"x" * protocol.CHUNK, end=False) * (protocol.WINDOW // protocol.CHUNK + 1)
    ),
    "credit for what was never sent": lambda s: protocol.encode_credit(s, 1),
    "credit for an answer that was never sent": lambda s: (
        payloads.encode_struct(FrameType.FETCH, 1, FetchHead(s, "GET", "http://origin/", []))
        + protocol.encode_credit(1, 0xFFFF_FFFF)
    ),
    "a head of many empty fields": lambda s: protocol.encode(
        FrameType.RESPONSE,
        s,
        b"\x92\xcc\xc8\xdd\x00\x00\xc8\x00" + b"\x92\xc4\x00\xc4\x00" * 0xC800,
    ),
    "a subrequest of many empty fields": lambda s: protocol.encode(
        FrameType.FETCH,
        1,
        b"\x94\x02\xa3GET\xa0\xdd\x00\x00\xc8\x00" + b"\x92\xc4\x00\xc4\x00" * 0xC800,
    ),
    "a head with something after it": lambda s: protocol.encode(
        FrameType.RESPONSE, s, b"\x93\xcc\xc8\x90\x00"
    ),
    "a piece of a body that is too long": lambda s: (
        response(s) + body(s, b"x" * (protocol.CHUNK + 1))
    ),
    "malformed credit": lambda s: protocol.encode(FrameType.CREDIT, s, b"1"),
    "a malformed head": lambda s: protocol.encode(FrameType.RESPONSE, s, b"\xc1"),
    "a body on a subrequest after its end": lambda s: (
        payloads.encode_struct(
            FrameType.FETCH, 1, FetchHead(s, "GET", "http://origin/", []), protocol.END
        )
        + body(1)
    ),
    "a subrequest on a stream in use": lambda s: (
        payloads.encode_struct(FrameType.FETCH, 1, FetchHead(s, "GET", "http://origin/", [])) * 2
    ),
    "subrequests without end": lambda s: b"".join(
        payloads.encode_struct(
            FrameType.FETCH, n, FetchHead(s, "GET", "http://origin/", []), protocol.END
        )
        for n in range(1, 2400, 2)
    ),
    "subrequests without end for nobody": lambda s: b"".join(
        payloads.encode_struct(
            FrameType.FETCH, n, FetchHead(s + 2, "GET", "http://origin/", []), protocol.END
        )
        for n in range(1, 2400, 2)
    ),
    "done on stream 0": lambda s: done(0),
    "hello again": lambda s: payloads.encode_struct(FrameType.HELLO, 0, payloads.Hello(1)),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_breaks_the_channel_and_names_itself(wire: Wire, lie: str) -> None:
    exchange = wire.open()
    await wire.say(LIES[lie](exchange.stream))
    error = await asyncio.wait_for(wire.broken, 30)
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
    assert await asyncio.wait_for(wire.broken, 30) is None


async def test_what_was_not_sent_before_the_end_is_known(wire: Wire) -> None:
    sent, unsent = wire.open(), wire.open()
    wire.channel.send(protocol.encode(FrameType.REQUEST, sent.stream, b"x"))
    await wire.hear()
    forged = protocol.encode(FrameType.REQUEST, sent.stream)
    wire.channel.send(protocol.encode_header(FrameType.BODY, sent.stream, len(forged)))
    wire.channel.send(forged)
    wire.channel.send(protocol.encode(FrameType.REQUEST, unsent.stream, b"x"))
    wire.channel.eof_received()
    assert await wire.broken is None
    assert wire.channel.unsent() == [unsent]


async def test_a_log_flood_is_cut_and_said(wire: Wire) -> None:
    exchange = wire.open()
    line = payloads.encode_struct(
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
        assert await asyncio.wait_for(exchange.next_chunk(), 30) == b"x"
        return
    error = await asyncio.wait_for(wire.broken, 30)
    assert "faster than code" in str(error)


async def test_a_log_of_a_great_many_parts_is_cut_and_said(wire: Wire) -> None:
    exchange, other = wire.open(), wire.open()
    fits = LogRecord("log", 0, [[{"a": []}] * 100])
    crowd = LogRecord("log", 0, [[[]] * payloads.MAX_ITEMS] * 10)
    for record in (fits, crowd, crowd, crowd):
        await wire.say(payloads.encode_struct(FrameType.LOG, exchange.stream, record))
    await wire.say(response(exchange.stream), body(exchange.stream), log(other.stream))
    assert await exchange.next_chunk() == b"x"
    await wire.say(response(other.stream), body(other.stream))
    assert await other.next_chunk() == b"x"
    assert exchange.logs == [fits, crowd]
    assert exchange.truncated
    assert len(other.logs) == 1
    assert not other.truncated
    wire.channel.forget(exchange)
    wire.channel.forget(other)
    assert (wire.channel.log_room.size, wire.channel.log_room.parts) == (0, 0)


async def test_the_logs_of_all_requests_of_an_instance_are_bounded_together(wire: Wire) -> None:
    exchanges = [wire.open() for _ in range(64)]
    line = LogRecord("log", 0, [[""] * payloads.MAX_ITEMS] * 12)
    for exchange in exchanges:
        await wire.say(payloads.encode_struct(FrameType.LOG, exchange.stream, line))
        await wire.say(response(exchange.stream), body(exchange.stream))
        await exchange.next_chunk()
    kept = [exchange for exchange in exchanges if exchange.logs]
    assert len(kept) == ROOM_PARTS // 12_013
    assert all(exchange.truncated for exchange in exchanges if exchange not in kept)


COLLIDING = b"\x81\x92\x01\x02\xc0"


@pytest.mark.parametrize(
    "argument",
    [
        COLLIDING,
        b"\x91" * 7 + b"\xc0",
        b"\xc4\x01a",
        b"\xd4\x05\x01",
        b"\xdc\x03\xe9" + b"\xc0" * 1001,
    ],
    ids=["a key that is a list", "too deep", "bytes", "an extension type", "too many items"],
)
async def test_a_log_record_holds_only_what_json_can(wire: Wire, argument: bytes) -> None:
    exchange = wire.open()
    await wire.say(
        protocol.encode(FrameType.LOG, exchange.stream, b"\x93\xa3log\x00\x91" + argument)
    )
    error = await asyncio.wait_for(wire.broken, 30)
    assert "malformed LogRecord" in str(error)
    assert exchange.logs == []


async def test_small_pieces_of_a_body_are_joined_while_they_wait(wire: Wire) -> None:
    exchange = wire.open()
    await wire.say(response(exchange.stream), body(exchange.stream, b"ab" * 64, end=False) * 2000)
    await wire.say(body(exchange.stream, b"c"))
    await exchange.response()
    while not exchange.ended:
        await exchange.changed()
    assert await exchange.next_chunk() == b"ab" * (protocol.CHUNK // 2)
    rest = b""
    while (chunk := await exchange.next_chunk()) is not None:
        rest += chunk
    assert protocol.CHUNK + len(rest) == 256_001
    assert rest.endswith(b"abc")


async def test_an_instance_that_answers_without_reading_is_ended(wire: Wire) -> None:
    for _ in range(1000):
        exchange = wire.open()
        wire.channel.send(protocol.encode(FrameType.BODY, exchange.stream, bytes(64 * 1024)))
        with contextlib.suppress(BrokenPipeError):
            await wire.say(response(exchange.stream), body(exchange.stream), done(exchange.stream))
        await asyncio.sleep(0)
        wire.channel.forget(exchange)
        if wire.broken.done():
            break
    assert "did not read" in str(wire.broken.result())


async def test_bodies_wait_for_an_instance_that_does_not_read(wire: Wire) -> None:
    exchange = wire.open()
    sent = 0

    async def upload() -> None:
        nonlocal sent
        while sent < 100:
            await exchange.room()
            wire.channel.send(protocol.encode(FrameType.BODY, exchange.stream, bytes(64 * 1024)))
            sent += 1

    task = asyncio.create_task(upload())
    await asyncio.wait({task}, timeout=0.2)
    assert 0 < sent < 30
    heard = 0
    decoder = protocol.Decoder(protocol.FROM_GATEWAY)
    while heard < 100:
        data = await asyncio.get_running_loop().sock_recv(wire.instance, 1 << 20)
        heard += len(decoder.feed(data))
    await task


async def test_a_stream_that_is_used_again_keeps_its_subrequest(wire: Wire) -> None:
    exchange = wire.open()
    wire.origin.answers = asyncio.Event()
    head = FetchHead(exchange.stream, "GET", "http://origin/", [])
    fetch = payloads.encode_struct(FrameType.FETCH, 1, head, protocol.END)
    cancel = protocol.encode(FrameType.CANCEL, 1)
    await wire.say(fetch)
    assert await wire.origin.seen.get() == "asked"
    await wire.say(cancel, fetch)
    assert {await wire.origin.seen.get() for _ in range(2)} == {"cancelled", "asked"}
    await wire.say(cancel)
    assert await wire.origin.seen.get() == "cancelled"


async def test_subrequests_are_counted_and_refused_outside_the_instance(wire: Wire) -> None:
    exchange = wire.open()
    for stream in (1, 3, 5):
        head = FetchHead(exchange.stream, "GET", f"http://origin/{stream}", [])
        await wire.say(payloads.encode_struct(FrameType.FETCH, stream, head, protocol.END))
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
    await wire.say(payloads.encode_struct(FrameType.FETCH, 1, head, protocol.END))
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
