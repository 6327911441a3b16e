"""Large pieces of an answer, passed on from where they were read: all of them, in order, once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ClientDisconnected
from gateway.pool.channel import Channel
from gateway.pool.exchange import Exchange
from gateway.pool.passage import BUFFER_BYTES, LARGE
from gateway.pool.window import FLOWING
from sandbox import ProtocolError, payloads, protocol
from sandbox.payloads import LogRecord, ResponseHead
from sandbox.protocol import CHUNK, END, WINDOW, FrameType
from tests.gateway.pool.test_channel import REQUEST, ROUTE

pytestmark = pytest.mark.anyio

SIZES = st.sampled_from([0, 1, 100, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE, CHUNK])


class Taken:
    """Takes pieces as a client does that now and then cannot."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.data = b""
        self.held: list[memoryview] = []

    def __call__(self, pieces: list[memoryview], size: int) -> bool:
        assert size == sum(map(len, pieces))
        if self.answers and not self.answers.pop(0):
            return False
        self.data += b"".join(pieces)
        self.held += pieces
        return True


class Line:
    """A channel whose instance is played by the test, one read at a time."""

    def __init__(self) -> None:
        self.broken: list[ProtocolError | None] = []
        self.over = asyncio.Event()
        self.channel = Channel(
            on_ready=lambda _: None,
            on_broken=self._on_broken,
            on_exception=lambda _, record: None,
            cpu_ns=lambda: 1 << 62,
        )
        self.ours, self.theirs = socket.socketpair()

    def _on_broken(self, error: ProtocolError | None) -> None:
        self.broken.append(error)
        self.over.set()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.channel, sock=self.ours)

    def open(self, sink: Taken) -> Exchange:
        exchange = self.channel.open(REQUEST, ROUTE)
        self.channel.data_received(response(exchange.stream))
        exchange.pass_on(sink)
        return exchange

    def reader(self) -> object:
        assert self.channel.passage.transport is not None
        return self.channel.passage.transport.get_protocol()

    def read(self, data: bytes) -> None:
        """What the event loop does with bytes that came."""
        passage = self.channel.passage
        if self.reader() is passage:
            passage.get_buffer(-1)[: len(data)] = data
            passage.buffer_updated(len(data))
        else:
            self.channel.data_received(data)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    await made.connect()
    yield made
    made.channel.close()
    made.theirs.close()
    await asyncio.sleep(0)


def response(stream: int) -> bytes:
    return payloads.encode_struct(FrameType.RESPONSE, stream, ResponseHead(200, []))


def body(stream: int, data: bytes, flags: int = 0) -> bytes:
    return protocol.encode(FrameType.BODY, stream, data, flags)


def log(stream: int, text: str) -> bytes:
    return payloads.encode_struct(FrameType.LOG, stream, LogRecord("log", 0, [text]))


def pattern(size: int, seed: int) -> bytes:
    """No two parts of it are alike."""
    return b"".join(b"%03d%05d" % (seed % 1000, i) for i in range(size // 8 + 1))[:size]


def cuts(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in reads of these sizes, over and over."""
    reads, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        reads.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return reads


async def rest_of(exchange: Exchange) -> bytes:
    kept = b""
    while (chunk := await exchange.next_chunk()) is not None:
        kept += chunk
    return kept


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(st.tuples(SIZES, st.integers(0, 1), st.booleans()), min_size=1, max_size=8),
    reads=st.lists(st.sampled_from([1, 11, 12, 13, 5000, LARGE, 70_000, BUFFER_BYTES]), min_size=1),
)
def test_every_byte_arrives_once_however_it_is_cut_and_mixed(
    frames: list[tuple[int, int, bool]], reads: list[int]
) -> None:
    if sum(reads) < 5000:
        reads = [*reads, BUFFER_BYTES]

    async def scenario() -> None:
        line = Line()
        await line.connect()
        sinks = [Taken(), Taken()]
        exchanges = [line.open(sink) for sink in sinks]
        sent, wanted, logs = b"", [b"", b""], 0
        for number, (size, which, told) in enumerate(frames):
            data, stream = pattern(size, number), exchanges[which].stream
            sent += body(stream, data) + (log(stream, "between") if told else b"")
            wanted[which] += data
            logs += told
        for number, exchange in enumerate(exchanges):
            sent += body(exchange.stream, b"end%d" % number, END)
            wanted[number] += b"end%d" % number
        got = [b"", b""]
        for data in cuts(sent, reads):
            line.read(data)
            for number, exchange in enumerate(exchanges):
                # As the corridor does before it waits again: what was kept follows what was not.
                got[number] += sinks[number].data
                sinks[number].data = b""
                while exchange.untaken:
                    got[number] += await exchange.next_chunk() or b""
        assert got == wanted
        assert sum(len(exchange.logs) for exchange in exchanges) == logs
        assert line.broken == []
        for exchange in exchanges:
            assert await exchange.next_chunk() is None
            line.channel.forget(exchange)
        line.channel.close()
        line.theirs.close()
        await asyncio.sleep(0)

    asyncio.run(scenario())


async def test_what_a_client_cannot_take_is_kept_and_what_follows_waits_behind_it(
    line: Line,
) -> None:
    sink = Taken(True, False)
    exchange = line.open(sink)
    parts = [pattern(CHUNK, n) for n in range(3)]
    for part in parts:
        line.read(body(exchange.stream, part))
    assert sink.data == parts[0]
    assert exchange.untaken == 2 * CHUNK
    line.read(body(exchange.stream, b"end", END))
    assert await rest_of(exchange) == parts[1] + parts[2] + b"end"


async def test_what_is_kept_too_long_is_out_of_reach(line: Line) -> None:
    sink = Taken()
    exchange = line.open(sink)
    line.read(body(exchange.stream, pattern(CHUNK, 1)) + body(exchange.stream, pattern(CHUNK, 2)))
    assert len(sink.held) == 2
    for piece in sink.held:
        with pytest.raises(ValueError, match="released"):
            bytes(piece)


async def test_loops_in_two_threads_do_not_read_into_one_buffer(line: Line) -> None:
    async def elsewhere() -> int:
        other = Line()
        await other.connect()
        other.open(Taken())
        address = id(other.channel.passage.get_buffer(-1).obj)
        other.channel.close()
        other.theirs.close()
        await asyncio.sleep(0)
        return address

    here = line.channel.passage.get_buffer(-1).obj
    assert id(here) != await asyncio.to_thread(asyncio.run, elsewhere())


async def credited(line: Line) -> int:
    """Bytes of credit that the instance was given; in few frames, as each of them wakes it."""
    await asyncio.sleep(0)
    line.theirs.setblocking(False)
    try:
        data = line.theirs.recv(1 << 20)
    except BlockingIOError:
        return 0
    frames = protocol.Decoder(protocol.FROM_GATEWAY).feed(data)
    assert {frame.type for frame in frames} == {FrameType.CREDIT}
    given = [protocol.decode_credit(frame.payload) for frame in frames]
    assert min(given) >= WINDOW // 2
    return sum(given)


async def test_credit_goes_back_for_what_was_passed_on_and_is_checked_for_what_was_not(
    line: Line,
) -> None:
    sink = Taken()
    exchange = line.open(sink)
    for _ in range(FLOWING // CHUNK):
        line.read(body(exchange.stream, bytes(CHUNK)))
    # What it used, and a second window because the client takes it as it comes.
    assert await credited(line) == FLOWING + WINDOW
    sink.answers = [False]
    for _ in range(2 * WINDOW // CHUNK):
        line.read(body(exchange.stream, bytes(CHUNK)))
    assert line.broken == []
    line.read(body(exchange.stream, bytes(CHUNK)))
    (error,) = line.broken
    assert "more body bytes than it had credit for" in str(error)


async def test_what_waits_for_the_client_earns_no_credit_and_costs_the_second_window(
    line: Line,
) -> None:
    exchange = line.open(Taken())
    for _ in range(FLOWING // CHUNK):
        line.read(body(exchange.stream, bytes(CHUNK)))
    await credited(line)
    # The client waits from here on: pieces that it was given count as held.
    exchange.crowd(True)
    assert await exchange.next_chunk() == b"", "who writes has to wait for the client"
    for _ in range(2 * WINDOW // CHUNK):
        line.read(body(exchange.stream, bytes(CHUNK)))
    assert await credited(line) == 0
    exchange.crowd(False)
    assert await credited(line) == WINDOW
    for _ in range(WINDOW // CHUNK):
        line.read(body(exchange.stream, bytes(CHUNK)))
    assert await credited(line) == WINDOW
    assert line.broken == []


@pytest.mark.parametrize(
    "frame",
    [
        protocol.HEADER.pack(CHUNK + 1, FrameType.BODY, 0, 0, 2) + bytes(100),
        protocol.HEADER.pack(CHUNK, FrameType.BODY, 2, 0, 2) + bytes(100),
        protocol.HEADER.pack(CHUNK, FrameType.BODY, 0, 1, 2) + bytes(100),
        protocol.HEADER.pack(CHUNK, 99, 0, 0, 2) + bytes(100),
        body(4, bytes(CHUNK)),
    ],
    ids=["too long", "flags", "reserved", "unknown type", "a stream that was never opened"],
)
async def test_a_frame_that_may_not_be_ends_the_instance_among_those_that_may(
    line: Line, frame: bytes
) -> None:
    sink = Taken()
    exchange = line.open(sink)
    line.read(body(exchange.stream, pattern(CHUNK, 1)) + frame)
    assert sink.data == pattern(CHUNK, 1)
    assert len(line.broken) == 1
    assert isinstance(line.broken[0], ProtocolError)


async def test_bytes_after_the_end_of_an_answer_end_the_instance(line: Line) -> None:
    exchange = line.open(Taken())
    line.read(body(exchange.stream, bytes(CHUNK), END) + body(exchange.stream, bytes(CHUNK)))
    assert isinstance(line.broken[0], ProtocolError)


async def test_an_answer_given_up_in_the_middle_of_a_frame_leaves_the_others_in_step(
    line: Line,
) -> None:
    given_up, other = line.open(Taken()), line.open(sink := Taken())
    frame = body(given_up.stream, pattern(CHUNK, 1))
    line.read(frame[:20_000])
    given_up.keep()
    line.channel.forget(given_up)
    line.read(frame[20_000:] + body(other.stream, pattern(CHUNK, 2)))
    assert sink.data == pattern(CHUNK, 2)
    assert line.broken == []


async def test_nothing_is_passed_on_of_an_answer_that_has_failed(line: Line) -> None:
    sink = Taken()
    exchange = line.open(sink)
    exchange.fail(ClientDisconnected())
    line.read(body(exchange.stream, bytes(CHUNK)))
    assert sink.data == b""


async def test_the_wire_is_read_as_before_once_no_answer_is_large(line: Line) -> None:
    exchange = line.open(Taken())
    assert line.reader() is line.channel.passage
    exchange.keep()
    line.read(body(exchange.stream, b"small", END))
    assert line.reader() is line.channel
    assert await rest_of(exchange) == b"small"


async def test_an_instance_that_ends_in_the_middle_of_a_frame_is_noticed(line: Line) -> None:
    sink = Taken()
    exchange = line.open(sink)
    loop = asyncio.get_running_loop()
    line.theirs.setblocking(False)
    await loop.sock_sendall(line.theirs, body(exchange.stream, pattern(CHUNK, 1))[:-1])
    line.theirs.close()
    await asyncio.wait_for(line.over.wait(), 20)
    assert line.broken == [None]
    assert (
        sink.data + (exchange.take_all() if exchange.untaken else b"") == (pattern(CHUNK, 1)[:-1])
    )


async def test_what_an_instance_left_behind_goes_on_where_reading_stopped(line: Line) -> None:
    sink = Taken()
    exchange = line.open(sink)
    frame = body(exchange.stream, pattern(CHUNK, 1))
    transport = line.channel.passage.transport
    assert transport is not None
    transport.pause_reading()
    line.read(frame[:20_000])
    line.theirs.sendall(frame[20_000:] + log(exchange.stream, "farewell"))
    # As when writing finds out that the instance is gone.
    line.channel.connection_lost(ConnectionResetError())
    assert sink.data == pattern(CHUNK, 1)
    assert [record.message for record in exchange.logs] == [["farewell"]]
    assert line.broken == [None]
