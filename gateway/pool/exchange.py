"""One invocation on the wire, seen from the gateway: what came in so far, and who waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import ProtocolViolation, Refusal, WaypostError
from gateway.pool.inbox import Inbox
from gateway.pool.logroom import LOG_PARTS, Holding, count_parts
from gateway.pool.passage import Sink
from gateway.pool.socket import WireSocket
from gateway.pool.window import Window
from sandbox import Charge, Meter, ProtocolError, payloads, protocol
from sandbox.payloads import Close, ExceptionRecord, LogRecord, ResponseHead
from sandbox.protocol import FrameType

if TYPE_CHECKING:
    from gateway.model.http import Request
    from gateway.model.route import Route
    from gateway.pool.channel import Channel

MOVED_STEP = 256 * 1024
"""Body bytes after which the CPU time of carrying them is granted."""
CARRY_NS = 1000
"""CPU time granted for carrying a KiB of a body: 300 to 400 are needed, on a busy machine 900."""
MAX_EXCEPTIONS = 16
"""Exceptions kept of one invocation."""


def carrying_ns(size: int, elapsed_ns: int) -> int:
    """CPU time granted for body bytes that took so long to pass, ns.

    Of a body that is read or written slowly each small piece wakes the process for itself: up to
    twice as much, but no more than a quarter of the time that it took.
    """
    fair_ns = size * CARRY_NS // 1024
    return max(fair_ns, min(2 * fair_ns, elapsed_ns // 4))


class Exchange:
    """Collects an invocation's frames; the corridor awaits its parts in order."""

    __slots__ = (
        "_channel",
        "_chunks",
        "_unacked",
        "_waiter",
        "_window",
        "afterwards",
        "charge",
        "done",
        "ended",
        "exceptions",
        "failure",
        "farewell",
        "head",
        "held",
        "logs",
        "meter",
        "moved",
        "moved_at_ns",
        "on_news",
        "request",
        "route",
        "send_credit",
        "started_ns",
        "stream",
        "subrequests",
        "truncated",
        "upload_waiter",
        "wire",
        "writer",
    )

    def __init__(self, channel: Channel, stream: int, request: Request, route: Route) -> None:
        self._channel = channel
        self.stream = stream
        self.request = request
        self.route = route
        self.started_ns = 0
        self.moved = 0
        """Body bytes since the last grant."""
        self.moved_at_ns = 0
        """When that was."""
        self.meter: Meter | None = None
        """Who keeps the account of the CPU time."""
        self.head: ResponseHead | None = None
        self.ended = False
        """The response is complete."""
        self.done = False
        """The invocation is over, waitUntil included."""
        self.failure: WaypostError | None = None
        self.afterwards: Refusal | None = None
        """What ended the invocation after its response was complete, which it leaves whole."""
        self.charge: Charge | None = None
        self.subrequests = 0
        self.logs: list[LogRecord] = []
        self.held: Holding | None = None
        """What its logs and exceptions take."""
        self.truncated = False
        self.exceptions: list[ExceptionRecord] = []
        self.send_credit = protocol.WINDOW
        self.upload_waiter: asyncio.Future[None] | None = None
        self.writer: asyncio.Task[None] | None = None
        """Who hands a piece of the response to the client now, and may wait for it for ever."""
        self.wire = (
            WireSocket(channel, stream, route.limits.message_kb * 1024)
            if request.websocket
            else None
        )
        """Where the client asks for a WebSocket."""
        self.farewell: Close | None = None
        """What the platform wants its WebSocket closed with."""
        self._chunks, self._unacked = Inbox(), 0
        self._window: Window | None = None
        """None until something was taken of a response that is not complete."""
        self._waiter: asyncio.Future[None] | None = None
        self.on_news: Callable[[], None] | None = None
        """Called once, after the frames that came together: for one who does not await them."""

    # What the corridor awaits

    async def response(self) -> ResponseHead:
        """The response's head. Raises the Refusal that ended the invocation instead.

        A failure that followed body bytes is raised after them: how an answer ends must not depend
        on whether its pieces came together.
        """
        while True:
            failure = self.failure
            if self.head is not None and (failure is None or self.ended):
                return self.head
            if failure is not None:
                if not self._chunks or self.head is None or isinstance(failure, ProtocolViolation):
                    raise failure
                return self.head
            await self.changed()

    async def next_chunk(self) -> bytes | None:
        """The next piece of the response body, None at its end. Raises as ``response``.

        An empty one asks to wait for the client, and to say so by ``crowd``.
        """
        while not self._chunks:
            if self.ended:
                return None
            if self.failure is not None:
                raise self.failure
            if self._window is not None and self._window.crowded:
                return b""
            await self.changed()
        chunk = self._chunks.take()
        self._unacked -= len(chunk)
        self._give_credit(len(chunk))
        return chunk

    def _give_credit(self, size: int) -> None:
        if not self.ended:
            self._send_credit(self._opened_window().consume(size))

    def _send_credit(self, credit: int) -> None:
        if credit and not self.ended:
            self._channel.send(protocol.encode_credit(self.stream, credit))

    def _opened_window(self) -> Window:
        if self._window is None:
            self._window = Window()
        return self._window

    def crowd(self, waits: bool) -> None:
        """Say whether what was sent waits for the client: until it does not, no credit is given."""
        window = self._window
        crowded = window is not None and window.crowded
        if waits and not crowded:
            self._opened_window().crowd()
            self.wake()
        elif window is not None and crowded and not waits:
            window.crowded = False
            self._send_credit(window.consume(0))

    @property
    def passes_on(self) -> bool:
        """Large pieces of the response are not kept for ``next_chunk``."""
        return self.stream in self._channel.passage.sinks

    def pass_on(self, sink: Sink) -> None:
        """Give ``sink`` large pieces of the response from here on, as long as it takes them."""
        self._channel.passage.open(self.stream, sink)

    def keep(self) -> None:
        """Keep all pieces of the response for ``next_chunk`` again."""
        self._channel.passage.close(self.stream)

    def take_all(self) -> bytes:
        """What has come of the response body."""
        chunks = self._chunks
        if len(chunks) == 1:
            whole = chunks.take()
        else:
            whole = b"".join(chunks)
            chunks.clear()
        self._unacked = 0
        return whole

    @property
    def untaken(self) -> int:
        """Bytes of the response body that have come and were not taken."""
        return self._unacked

    @property
    def is_last_chunk(self) -> bool:
        """Nothing follows what has been taken."""
        return self.ended and not self._chunks

    async def finished(self) -> None:
        """Wait until the invocation is over, however it ends."""
        while not self.done:
            await self.changed()

    async def changed(self) -> None:
        """Return when a frame has come, or it is over. One waits at a time."""
        self._waiter = self._channel.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let the corridor look again."""
        if self.on_news is not None:
            news, self.on_news = self.on_news, None
            self._channel.tell(news)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the channel delivers

    def on_response(self, payload: bytes, flags: int) -> None:
        """RESPONSE frame."""
        if self.head is not None:
            raise protocol_violation("a second response head")
        self.head = payloads.decode_struct(ResponseHead, payload)
        self.ended = bool(flags & protocol.END)
        if self.wire is not None:
            self.wire.opened = self.head.status == 101 and not self.ended
        self.wake()

    def on_body(self, payload: bytes, flags: int) -> None:
        """BODY frame of the response."""
        if self.done:
            return
        if self.head is None or self.ended or (self.wire is not None and self.wire.opened):
            raise protocol_violation("body bytes outside of a response")
        self._unacked += len(payload)
        if self._unacked > (protocol.WINDOW if self._window is None else self._window.most):
            raise protocol_violation("more body bytes than it had credit for")
        if payload:
            self._chunks.put(payload)
            self.on_moved(len(payload))
        self.ended = bool(flags & protocol.END)
        self.wake()

    def on_pieces(self, pieces: list[memoryview], flags: int, sink: Sink) -> None:
        """Bytes of BODY frames, which are gone when this returns; the last has these flags."""
        size = sum(map(len, pieces))
        kept = flags or self._chunks or self.writer is not None
        over = self.ended or self.done or self.failure is not None
        if not (kept or over) and sink(pieces, size):
            self.on_moved(size)
            self._send_credit(self._opened_window().flow(size))
            return
        for number, piece in enumerate(pieces, 1):
            self.on_body(bytes(piece), flags if number == len(pieces) else 0)

    def on_answer(self, head: ResponseHead, body: bytes) -> None:
        """ANSWER frame: the whole response, and the invocation's end."""
        if self.done:
            return
        if self.head is not None:
            raise protocol_violation("a second response head")
        self.head = head
        if body:
            self._unacked = len(body)
            self._chunks.append(body)
            if self.moved:
                # By itself an answer in one frame is less than is granted for.
                self.on_moved(len(body))
        self.ended = True
        self.finish()

    def on_moved(self, size: int) -> None:
        """Body bytes went in or out: copying them between kernel and process is our way of
        carrying them, and no work of the tenant's code."""
        self.moved += size
        if self.moved >= MOVED_STEP and self.meter is not None and self.charge is not None:
            now_ns = time.monotonic_ns()
            self.meter.grant(self.charge, carrying_ns(self.moved, now_ns - self.moved_at_ns))
            self.moved, self.moved_at_ns = 0, now_ns

    def on_socket(self, kind: int, payload: bytes, flags: int) -> None:
        """TEXT, BINARY or CLOSE frame."""
        if self.done:
            return
        if self.wire is None:
            raise protocol_violation("a message where no WebSocket was asked for")
        if kind == FrameType.CLOSE:
            self.wire.on_close(payload)
            self.ended = True
        else:
            self.wire.on_part(kind, payload, last=bool(flags & protocol.END))
        self.wake()

    def dismiss(self, close: Close) -> None:
        """Have its WebSocket closed by the platform."""
        if self.wire is not None and self.farewell is None:
            self.farewell = close
            self.wake()

    def _holding(self) -> Holding:
        if self.held is None:
            self.held = Holding(self._channel.log_room)
        return self.held

    def takes_logs(self, size: int) -> bool:
        """There is room for a log record of that size; otherwise the log is truncated."""
        if not self._holding().fits(size):
            self.truncated = True
        return not self.truncated

    def on_log(self, record: LogRecord, size: int) -> None:
        """A log record whose bytes there was room for."""
        parts = 1 + count_parts(record.message, LOG_PARTS)
        held = self._holding()
        if held.fits(size, parts):
            held.add(size, parts)
            self.logs.append(record)
        else:
            self.truncated = True

    def warn(self, text: str) -> None:
        """A line of the platform's own in the invocation's log."""
        if self.takes_logs(len(text)):
            self.on_log(LogRecord("warn", time.time_ns() // 1_000_000, [text]), len(text))

    @property
    def takes_exceptions(self) -> bool:
        """There is room for another exception."""
        return len(self.exceptions) < MAX_EXCEPTIONS

    def on_exception(self, record: ExceptionRecord, size: int = 0) -> None:
        """EXCEPTION frame: kept for the tail; ``fail`` decides what it means."""
        held = self._holding()
        if not self.exceptions or (self.takes_exceptions and held.fits(size)):
            held.add(size, 1)
            self.exceptions.append(record)
        else:
            self.truncated = True

    def on_credit(self, amount: int) -> None:
        """CREDIT frame: the instance took that many bytes of the request body."""
        self.send_credit += amount
        if self.send_credit > protocol.WINDOW:
            raise protocol_violation("credit for bytes that were never sent")
        waiter = self.upload_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def on_done(self) -> None:
        """DONE frame."""
        if self.head is None and self.failure is None:
            raise protocol_violation("the end of an invocation without an answer")
        if self.head is not None and not self.ended and self.failure is None:
            raise protocol_violation("the end of an invocation inside its response")
        self.finish()

    def fail(self, failure: WaypostError) -> None:
        """End the response with an error; the first one stays."""
        if self.failure is None and not self.done:
            self.failure = failure
            if self.writer is not None:
                self.writer.cancel()
        self.wake()

    def fail_afterwards(self, failure: Refusal) -> None:
        """Say how an invocation ended whose response was complete before; the first one stays."""
        if self.afterwards is None and not self.done:
            self.afterwards = failure

    def finish(self) -> None:
        """The invocation is over."""
        if self.done:
            return
        self.done = True
        waiter = self.upload_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self.wake()

    # What the corridor sends

    def upload(self, chunk: bytes | memoryview, *, end: bool) -> None:
        """Send request body bytes; the caller has made sure of the credit."""
        size, flags = len(chunk), protocol.END if end else 0
        self.send_credit -= size
        self.on_moved(size)
        self._channel.send(protocol.encode_header(FrameType.BODY, self.stream, size, flags))
        if size:
            self._channel.send(chunk)

    async def room(self) -> None:
        """Wait until the instance has read most of what it was sent."""
        await self._channel.room()

    def cancel(self, *, at_once: bool = False) -> None:
        """Tell the instance that nobody waits for the answer, or for anything after it."""
        if not self.done:
            flags = protocol.END if at_once else 0
            self._channel.send(protocol.encode(FrameType.CANCEL, self.stream, flags=flags))


def protocol_violation(what: str) -> ProtocolError:
    """The error of an instance that sent ``what`` where it may not."""
    return ProtocolError(f"the instance sent {what}")


def as_refusal(error: ProtocolError) -> ProtocolViolation:
    """What the client of such an instance is told."""
    return ProtocolViolation(f"The worker's process broke the platform's protocol: {error}.")
