"""The gateway's end of an instance's wire: frames to exchanges and subrequests, and back.

Everything that arrives here was written by a hostile process. What does not fit kills that
instance; no other stream, tenant or buffer is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Protocol, cast

from gateway.model.http import Request
from gateway.model.route import Route
from gateway.pool.exchange import Exchange, protocol_violation
from gateway.pool.fairness import A_TURN, Share
from gateway.pool.logpipe import LogPipe
from gateway.pool.logroom import LogRoom
from gateway.pool.outbox import HIGH_WATER, Outbox
from gateway.pool.passage import Passage, Sink
from sandbox import ProtocolError, payloads, protocol
from sandbox.payloads import ExceptionRecord, Failed, FetchOwner, LogRecord, Ready, ResponseHead
from sandbox.protocol import Frame, FrameType

logger = logging.getLogger(__name__)

MAX_SUBREQUESTS_OPEN = 64
MAX_STRAYS = 1000
"""Subrequests for invocations that are over, in the life of an instance."""
MAX_KNOWN = 16
MAX_KNOWN_BYTES = 1024
"""Response heads remembered of an instance, and the longest of them."""
REST_READ = 64 * 1024
MAX_RESTS = 64
"""Reads of what a dead instance left in its socket; a full one takes fewer."""
LAST_TURNS = 16
"""What it had said before, and would have waited for so many turns, is taken in at once."""
PACE_UNITS = 4096
"""A frame is one unit, and so is a read and each 256 bytes of metadata; after so many the pace is
looked at."""
AT_ONCE = A_TURN
"""Frames that are taken in at one turn of the event loop; a read may bring many thousand."""
LITTLE = 512
FEW = 4
"""A read of no more bytes and frames than these takes nothing of the tenant's share."""
LOG_UNITS = 3
FETCH_UNITS = 15
"""What a log record and a subrequest take of it, on top of what a frame does."""
UNIT_NS = 500
"""CPU time that honest code needs for a unit at least. Bytes prepared once and written again and
again cost their sender next to nothing, and us the same as any other frames."""
STALE_NS = 5_000_000
"""How far the clock may be behind on a host that cannot read it exactly: a scheduler tick."""


MAX_UNREAD = 1 << 20
MAX_UNREAD_EACH = 512 * 1024
"""What else may wait (heads, refusals, credit): so much, and so much for each request in flight."""

_ANSWER = int(FrameType.ANSWER)
_SOCKET_FRAMES = frozenset({FrameType.TEXT, FrameType.BINARY, FrameType.CLOSE})


class Subrequests(Protocol):
    """What serves FETCH frames; one per instance."""

    def on_fetch(self, stream: int, payload: bytes, exchange: Exchange, *, ended: bool) -> None:
        """A subrequest begins; its head is still to be decoded."""

    def on_body(self, stream: int, payload: bytes, *, ended: bool) -> bool:
        """Body bytes of a subrequest; False when the stream is unknown."""

    def on_credit(self, stream: int, amount: int) -> None:
        """The instance consumed that much of an answer."""

    def on_cancel(self, stream: int) -> None:
        """The instance lost interest."""

    def close(self) -> None:
        """The instance is gone."""


class Channel(asyncio.Protocol):
    """Speaks the wire to one instance."""

    def __init__(
        self,
        *,
        on_ready: Callable[[Ready | Failed], None],
        on_broken: Callable[[ProtocolError | None], None],
        on_exception: Callable[[Exchange, ExceptionRecord], None],
        cpu_ns: Callable[[], int],
        on_taken: Callable[[Exchange], None] = lambda _: None,
        on_extend: Callable[[Exchange], None] = lambda _: None,
        share: Share | None = None,
    ) -> None:
        self._on_ready = on_ready
        self._on_broken = on_broken
        self._on_exception = on_exception
        self._on_taken = on_taken
        self._on_extend = on_extend
        self._cpu_ns = cpu_ns
        self._units = 0
        self._paced_cpu_ns = 0
        self._share = share or Share()
        self._dues = 0
        """What the frames at hand take of it beyond their number and size."""
        self._waits = False
        """For the tenant's turn; what it has said, and all that follows, is ``left`` until then."""
        self.loop = asyncio.get_running_loop()
        self._decoder = protocol.Decoder(protocol.FROM_INSTANCE, at_once=AT_ONCE)
        self._transport: asyncio.Transport | None = None
        self._next_stream = 2
        self._outbox = outbox = Outbox(self.loop, self._check_unread)
        self.send = outbox.send
        """Write frames before the loop waits; dropped when the wire is down."""
        self.room = outbox.room
        """Wait until the instance has read most of what it was sent."""
        self.log_room = LogRoom()
        self._news: list[Callable[[], None]] = []
        self._receiving = False
        self._strays = 0
        self._heads: dict[bytes, ResponseHead] = {}
        """What heads say that came before: a worker's answers are much alike."""
        self._log_pipe = LogPipe(self.loop, self._share, self._oldest)
        self.exchanges: dict[int, Exchange] = {}
        self.passage = Passage(self, self._decoder)
        self.subrequests: Subrequests | None = None
        self.closed = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The wire is up."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self.passage.transport = self._outbox.to = self._transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the instance."""
        if self.closed:
            return
        if self._waits:
            self._decoder.left += data
            return
        try:
            frames = self._decoder.feed(data)
            self._units += 1 + len(frames)
            if self._units >= PACE_UNITS:
                self._check_pace()
        except ProtocolError as error:
            self._break(error)
            return
        if len(data) <= LITTLE and len(frames) <= FEW:
            self._take_in(frames)
        else:
            self._take_much(frames)

    def _take_much(self, frames: list[Frame]) -> None:
        """Take in what others would notice; what follows has its turn when they had theirs."""
        units, self._dues = self._units, len(frames)
        self._take_in(frames)
        # What begins meanwhile may have started the count anew.
        over = self._share.spend(self._dues + max(0, self._units - units))
        if (over or self._decoder.left) and not self.closed:
            self._waits = True
            if self._transport is not None:
                self._transport.pause_reading()
            self._share.wait(self._take_rest)

    def _take_rest(self) -> None:
        left, self._decoder.left, self._waits = self._decoder.left, b"", False
        if self.closed:
            return
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        if left:
            self._units -= 1  # It is no other read.
            self.data_received(left)

    def _take_in(self, frames: list[Frame]) -> None:
        self._receiving = True
        try:
            for frame in frames:
                if frame.type == _ANSWER:
                    self._answer(frame)
                else:
                    self._dispatch(frame)
        except ProtocolError as error:
            self._break(error)
        self._receiving = False
        if self._news:
            self._spread()

    def carry(self, stream: int, pieces: list[memoryview], flags: int, sink: Sink) -> None:
        """Bytes of BODY frames, which are gone when this returns; the last has these flags."""
        try:
            self._units += 1 + len(pieces)
            if self._units >= PACE_UNITS:
                self._check_pace()
            exchange = self.exchanges.get(stream)
            if exchange is not None:
                exchange.on_pieces(pieces, flags, sink)
        except ProtocolError as error:
            self._break(error)

    def tell(self, news: Callable[[], None]) -> None:
        """Call ``news`` once the frames at hand are all taken in."""
        self._news.append(news)
        if not self._receiving and len(self._news) == 1:
            self.loop.call_soon(self._spread)

    def _spread(self) -> None:
        every, self._news = self._news, []
        for news in every:
            try:
                news()
            except Exception:
                # The wire must not go down with one of its requests.
                logger.exception("a request was lost")

    def pace_from(self, cpu_ns: int) -> None:
        """Forget what was saved up: work begins, and the sender's clock stands at ``cpu_ns``."""
        self._units, self._paced_cpu_ns = 0, cpu_ns

    def _check_pace(self) -> None:
        cpu_ns = self._cpu_ns()
        missing_ns = self._units * UNIT_NS - (cpu_ns - self._paced_cpu_ns)
        if missing_ns > STALE_NS:
            raise ProtocolError("frames faster than code can make them")
        # Within a read nothing is forgiven yet: all of it was paid for before it came.
        if missing_ns <= 0 and not self._decoder.left:
            self._units, self._paced_cpu_ns = 0, cpu_ns

    def eof_received(self) -> None:
        """The instance closed its end, or died: at once, while it is known what it was not sent."""
        if not self._waits:
            self._break(None)

    def unsent(self) -> list[Exchange]:
        """Invocations whose request is not on the wire yet, so that no code has seen it."""
        return [
            self.exchanges[stream] for stream in self._outbox.unsent() if stream in self.exchanges
        ]

    def connection_lost(self, exc: Exception | None) -> None:
        """The instance closed its end, or died."""
        if exc is not None:
            self._read_rest()
        for _ in range(LAST_TURNS):
            if self._waits and not self.closed:
                self._take_rest()
        self._break(None)

    def _read_rest(self) -> None:
        """Take in what an instance sent before its end, where writing told of the end first."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        with contextlib.suppress(OSError):
            for _ in range(MAX_RESTS):
                data = os.read(sock.fileno(), REST_READ) if sock is not None else b""
                if not data or self.closed:
                    return
                self.passage.feed(data)

    def pause_writing(self) -> None:
        """More waits for the instance than is good."""
        self._outbox.pause()

    def resume_writing(self) -> None:
        """The instance has read most of it."""
        self._outbox.resume()

    def _check_unread(self, size: int) -> None:
        """An instance can answer what it has not read; what it does not read we hold."""
        # While its code is on its way, that has a time limit of its own.
        most = MAX_UNREAD + MAX_UNREAD_EACH * len(self.exchanges)
        if self.subrequests is not None and size > most:
            self._break(protocol_violation("answers, and did not read what it was sent"))

    # Invocations

    def open(self, request: Request, route: Route) -> Exchange:
        """Give a new invocation its stream."""
        stream = self._next_stream
        self._next_stream = stream + 2 if stream < 0xFFFF_FFF0 else 2
        exchange = self.exchanges[stream] = Exchange(self, stream, request, route)
        return exchange

    def forget(self, exchange: Exchange) -> None:
        """The invocation is over; later frames of its stream are ignored or refused."""
        self.exchanges.pop(exchange.stream, None)
        if exchange.held is not None:
            exchange.held.release()

    def close(self) -> None:
        """Take the wire down."""
        if self.closed:
            return
        self.closed = True
        self._outbox.close()
        self._log_pipe.close()
        if self.subrequests is not None:
            self.subrequests.close()
        if self._transport is not None:
            self._transport.abort()

    def _break(self, error: ProtocolError | None) -> None:
        if not self.closed:
            self._log_pipe.drain()
            self.close()
            self._on_broken(error)

    # Receiving

    def _dispatch(self, frame: Frame) -> None:
        kind = frame.type
        if kind == FrameType.CREDIT:
            self._credit(frame)
        elif frame.stream & 1:
            self._subrequest(frame)
        elif frame.stream == 0:
            self._connection(frame)
        else:
            self._invocation(frame)

    def _invocation(self, frame: Frame) -> None:
        kind = frame.type
        exchange = self.exchanges.get(frame.stream)
        if exchange is None:
            if frame.stream >= self._next_stream or kind in (FrameType.READY, FrameType.FAILED):
                raise ProtocolError(f"frame type {kind} for stream {frame.stream}, never opened")
            return
        if kind == FrameType.RESPONSE:
            self._units += len(frame.payload) >> 8
            exchange.on_response(frame.payload, frame.flags)
        elif kind == FrameType.BODY:
            exchange.on_body(frame.payload, frame.flags)
        elif kind == FrameType.DONE:
            exchange.on_done()
        elif kind in _SOCKET_FRAMES:
            exchange.on_socket(kind, frame.payload, frame.flags)
        elif kind == FrameType.LOG:
            self._log(frame.payload, exchange)
        elif kind == FrameType.EXCEPTION:
            self._exception(frame.payload, exchange)
        elif kind == FrameType.EXTEND:
            self._on_extend(exchange)
        else:
            raise ProtocolError(f"frame type {kind} on an invocation's stream")

    def _answer(self, frame: Frame) -> None:
        stream = frame.stream
        exchange = self.exchanges.get(stream)
        if exchange is not None:
            head, body = protocol.split_answer(frame.payload)
            exchange.on_answer(self._heads.get(head) or self._read_head(head), body)
        elif stream == 0 or stream & 1 or stream >= self._next_stream:
            raise ProtocolError(f"an answer on stream {stream}, which is no invocation")

    def _read_head(self, encoded: bytes) -> ResponseHead:
        self._units += len(encoded) >> 8
        head = payloads.decode_struct(ResponseHead, encoded)
        if len(encoded) <= MAX_KNOWN_BYTES:
            if len(self._heads) >= MAX_KNOWN:
                self._heads.clear()
            self._heads[encoded] = head
        return head

    def _log(self, payload: bytes, exchange: Exchange) -> None:
        # Not even decoded when it would be dropped: a flood of them is to cost little.
        if exchange.takes_logs(len(payload)):
            self._units += len(payload) >> 8
            self._dues += LOG_UNITS
            exchange.on_log(payloads.decode_struct(LogRecord, payload), len(payload))

    def _exception(self, payload: bytes, exchange: Exchange) -> None:
        self._units += len(payload) >> 8
        if exchange.takes_exceptions:
            record = payloads.decode_struct(ExceptionRecord, payload)
            exchange.on_exception(record, len(payload))
            self._on_exception(exchange, record)

    def _connection(self, frame: Frame) -> None:
        kind = frame.type
        if kind == FrameType.READY:
            self._on_ready(payloads.decode_struct(Ready, frame.payload))
        elif kind == FrameType.FAILED:
            self._on_ready(payloads.decode_struct(Failed, frame.payload))
        elif kind == FrameType.LOG:
            exchange = self._oldest()
            if exchange is not None:
                self._log(frame.payload, exchange)
        else:
            raise ProtocolError(f"frame type {kind} on stream 0")

    def _subrequest(self, frame: Frame) -> None:
        serving = self.subrequests
        if serving is None:
            raise ProtocolError("a subrequest before the script was loaded")
        kind, ended = frame.type, bool(frame.flags & protocol.END)
        if kind == FrameType.FETCH:
            self._fetch(frame, serving, ended=ended)
        elif kind == FrameType.BODY:
            serving.on_body(frame.stream, frame.payload, ended=ended)
        elif kind == FrameType.CANCEL:
            serving.on_cancel(frame.stream)
        else:
            raise ProtocolError(f"frame type {kind} on a subrequest's stream")

    def _fetch(self, frame: Frame, serving: Subrequests, *, ended: bool) -> None:
        self._units += len(frame.payload) >> 8
        self._dues += FETCH_UNITS
        exchange = self.exchanges.get(payloads.decode_struct(FetchOwner, frame.payload).invocation)
        if exchange is None:
            self._strays += 1
            if self._strays > MAX_STRAYS:
                raise ProtocolError("subrequests without end, for invocations that are over")
            error = payloads.FetchError("invocation_over", "The invocation is over.")
            self.send(payloads.encode_struct(FrameType.FETCH_ERROR, frame.stream, error))
        else:
            serving.on_fetch(frame.stream, frame.payload, exchange, ended=ended)

    def _credit(self, frame: Frame) -> None:
        amount = protocol.decode_credit(frame.payload)
        if frame.stream & 1:
            if self.subrequests is not None:
                self.subrequests.on_credit(frame.stream, amount)
        elif (exchange := self.exchanges.get(frame.stream)) is not None:
            exchange.on_credit(amount)
            if exchange.wire is not None and exchange.wire.on_credit(amount):
                self._on_taken(exchange)

    # What C code and os.write() put on descriptors 1 and 2

    def watch_log(self, fd: int) -> None:
        """Read the instance's stdout and stderr from ``fd`` until it closes."""
        self._log_pipe.watch(fd)

    def _oldest(self) -> Exchange | None:
        """Output without an invocation goes to the one in flight; to the oldest of several."""
        return next(iter(self.exchanges.values()), None)
