"""A random peer on a real socket: an instance ends with a name, or its frame is ignored by rule."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.errors import TenantFailed
from gateway.pool.channel import MAX_UNREAD, MAX_UNREAD_EACH, Channel
from gateway.pool.exchange import Exchange
from gateway.pool.subrequests import WireSubrequests
from sandbox import ProtocolError, payloads, protocol
from sandbox.payloads import ExceptionRecord, FetchHead, LogRecord, ResponseHead
from sandbox.protocol import FrameType
from tests.fuzz.wire import ROUTE, Origin, check_exchange, request

STREAMS = st.sampled_from([0, 2, 2, 4, 4, 6, 40])
SUBREQUESTS = st.sampled_from([1, 3, 5])
FLAGS = st.sampled_from([0, protocol.END])


def mark(stream: int) -> bytes:
    """What is only ever said on one stream."""
    return b"<%d>" % stream


class Wired:
    """A channel with two requests, and the other end of its wire. Made on a running loop."""

    def __init__(self) -> None:
        self.ends: list[ProtocolError | None] = []
        self.exchanges: list[Exchange] = []
        self.taken: dict[int, bytes] = {}
        self.channel = Channel(
            on_ready=self._on_ready,
            on_broken=self.ends.append,
            on_exception=lambda exchange, _: exchange.fail(TenantFailed("raised")),
            cpu_ns=lambda: 0,
        )
        self.channel.subrequests = WireSubrequests(self.channel, Origin())

    def _on_ready(self, _: object) -> None:
        raise ProtocolError("the script was reported loaded twice")

    async def connect(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.channel, sock=ours)
        self.open()
        self.open()

    def open(self) -> None:
        exchange = self.channel.open(request(), ROUTE)
        self.exchanges.append(exchange)
        self.taken[exchange.stream] = b""

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.theirs, data)
        while self._unread():  # noqa: ASYNC110 - the kernel tells nobody when a queue is empty
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0)

    def _unread(self) -> bool:
        """The gateway has not read all that was written."""
        if self.channel.closed:
            return False
        queued = fcntl.ioctl(self.theirs, termios.TIOCOUTQ, b"\0" * 4)
        return bool(struct.unpack("i", queued)[0])

    async def take(self) -> None:
        """Let each request's client have what has come for it."""
        for exchange in self.exchanges:
            while len(exchange._chunks):
                self.taken[exchange.stream] += await exchange.next_chunk() or b""


class RandomPeer(RuleBasedStateMachine):
    """One hostile instance, and another of which nothing may change."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.escaped: list[object] = []
        self.runner.get_loop().set_exception_handler(lambda _, what: self.escaped.append(what))
        self.said = b""
        self.runner.run(self._connect())

    async def _connect(self) -> None:
        self.peer, self.other = Wired(), Wired()
        await self.peer.connect()
        await self.other.connect()

    def say(self, data: bytes) -> None:
        self.said = data
        self.runner.run(self.peer.say(data))

    # What it may come up with

    @rule(stream=STREAMS, flags=FLAGS, fields=st.sampled_from([0, 3, 300]))
    def respond(self, stream: int, flags: int, fields: int) -> None:
        head = ResponseHead(200, [(b"x", mark(stream))] * fields)
        self.say(payloads.encode_struct(FrameType.RESPONSE, stream, head, flags))

    @rule(stream=STREAMS, fields=st.sampled_from([0, 3, 300]), times=st.sampled_from([0, 1, 5000]))
    def answer(self, stream: int, fields: int, times: int) -> None:
        head = payloads.encode_metadata(ResponseHead(200, [(b"x", mark(stream))] * fields))
        self.say(protocol.encode_answer(stream, head, mark(stream) * times))

    @rule(stream=STREAMS, flags=FLAGS, times=st.sampled_from([0, 1, 50, 20_000]))
    def send_body(self, stream: int, flags: int, times: int) -> None:
        data = mark(stream) * times
        self.say(protocol.encode(FrameType.BODY, stream, data[: protocol.CHUNK], flags))

    @rule(stream=STREAMS, times=st.sampled_from([1, 30, 3000]))
    def log(self, stream: int, times: int) -> None:
        record = LogRecord("log", 0, [mark(stream).decode(), {"a": []}])
        self.say(payloads.encode_struct(FrameType.LOG, stream, record) * times)

    @rule(stream=STREAMS)
    def say_it_raised(self, stream: int) -> None:
        record = ExceptionRecord("exception", "E", mark(stream).decode(), "", 0)
        self.say(payloads.encode_struct(FrameType.EXCEPTION, stream, record))

    @rule(stream=STREAMS)
    def end(self, stream: int) -> None:
        self.say(protocol.encode(FrameType.DONE, stream))

    @rule(stream=SUBREQUESTS, owner=STREAMS, flags=FLAGS)
    def fetch(self, stream: int, owner: int, flags: int) -> None:
        head = FetchHead(owner, "POST", "http://origin/", [])
        self.say(payloads.encode_struct(FrameType.FETCH, stream, head, flags))

    @rule(stream=SUBREQUESTS, flags=FLAGS, size=st.sampled_from([0, 1, protocol.CHUNK]))
    def send_subrequest_body(self, stream: int, flags: int, size: int) -> None:
        self.say(protocol.encode(FrameType.BODY, stream, bytes(size), flags))

    @rule(stream=st.one_of(STREAMS, SUBREQUESTS))
    def cancel(self, stream: int) -> None:
        self.say(protocol.encode(FrameType.CANCEL, stream))

    @rule(stream=st.one_of(STREAMS, SUBREQUESTS), amount=st.sampled_from([0, 1, 0xFFFF_FFFF]))
    def give_credit(self, stream: int, amount: int) -> None:
        self.say(protocol.encode_credit(stream, amount))

    @rule(data=st.binary(max_size=64))
    def say_anything(self, data: bytes) -> None:
        self.say(data)

    @rule(cut=st.integers(0, 40))
    def say_part_of_it_again(self, cut: int) -> None:
        self.say(self.said[cut:])

    @rule()
    def say_it_again(self) -> None:
        self.say(self.said)

    @rule()
    def hang_up_one_way(self) -> None:
        with contextlib.suppress(OSError):
            self.peer.theirs.shutdown(socket.SHUT_WR)
        self.say(b"")

    # What goes on meanwhile

    @rule()
    def clients_take(self) -> None:
        self.runner.run(self.peer.take())

    @rule()
    def a_request_comes(self) -> None:
        if not self.peer.channel.closed and len(self.peer.exchanges) < 8:
            self.runner.run(self._open())

    async def _open(self) -> None:
        self.peer.open()

    @rule()
    def a_request_leaves(self) -> None:
        self.runner.run(self._leave())

    async def _leave(self) -> None:
        exchange = self.peer.exchanges[0]
        self.peer.channel.forget(exchange)
        self.peer.channel.subrequests.end_of(exchange)  # type: ignore[union-attr]

    # What holds

    @invariant()
    def it_ends_once_and_with_a_name(self) -> None:
        peer = self.peer
        assert not self.escaped
        assert len(peer.ends) == peer.channel.closed
        assert all(end is None or str(end) for end in peer.ends)

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        channel = self.peer.channel
        if channel.closed or channel._transport is None:
            return
        assert channel._decoder.buffered <= protocol.HEADER_SIZE + protocol.MAX_METADATA
        most = MAX_UNREAD + MAX_UNREAD_EACH * len(channel.exchanges)
        assert channel._transport.get_write_buffer_size() <= most
        for exchange in self.peer.exchanges:
            check_exchange(exchange)

    @invariant()
    def nobody_gets_what_was_said_on_another_stream(self) -> None:
        for exchange in self.peer.exchanges:
            own = mark(exchange.stream)
            taken = self.peer.taken[exchange.stream]
            assert not taken.replace(own, b"").strip(own)
            said = {record.message[0] for record in exchange.logs}
            assert said <= {own.decode(), mark(0).decode()}
            assert {record.message for record in exchange.exceptions} <= {own.decode()}
            if exchange.head is not None:
                assert all(value == own for _, value in exchange.head.headers)

    @invariant()
    def another_instance_notices_nothing(self) -> None:
        assert not self.other.ends
        for exchange in self.other.exchanges:
            assert exchange.head is None
            assert exchange.failure is None
            assert not exchange.logs
            assert not exchange.done

    def teardown(self) -> None:
        self.runner.run(self._close())
        self.runner.close()
        assert not self.escaped

    async def _close(self) -> None:
        for wired in (self.peer, self.other):
            wired.channel.close()
            wired.theirs.close()
        await asyncio.sleep(0)
        ours = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not ours]
        done, pending = await asyncio.wait(left, timeout=5) if left else (set(), set())
        assert not pending, "a subrequest outlived its instance"
        assert not [task for task in done if not task.cancelled() and task.exception()]


RandomPeer.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRandomPeer = RandomPeer.TestCase
