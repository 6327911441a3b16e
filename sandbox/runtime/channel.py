"""The instance's end of the wire: reading frames without or with waiting, and body flow control.

The gateway at the other end is trusted; tenant code shares this process, so nothing kept here is a
secret.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from sandbox.protocol import (
    CHUNK,
    END,
    FROM_GATEWAY,
    WINDOW,
    Decoder,
    Frame,
    FrameType,
    encode,
    encode_credit,
    encode_header,
)

_RECEIVE_BYTES = 256 * 1024
_HOLD_SECONDS = 0.0002
"""An answer that is ready this soon after its batch came in waits for the others of it."""
_SLOW_SECONDS = 0.005
"""A batch that takes longer has a handler in it that holds up the others' answers."""
_PROMPT_SECONDS = 1.0
"""After such a batch no answer waits for so long."""
_CREDIT_STEP = WINDOW // 2
_LARGE = 16 * 1024
"""Bytes of a piece of a body that need not be under way before its writer lets the loop run."""
_TOGETHER = 6 * CHUNK
"""Bytes of such pieces that are written together: a write that wakes the gateway costs as much as
copying a large piece does."""


def _leave() -> None:
    os._exit(0)


class Channel:
    """Frames over one Unix stream socket, shared by the main thread and tenant threads that log."""

    def __init__(self, wire: socket.socket, on_lost: Callable[[], None] = _leave) -> None:
        self.wire = wire
        self.on_frame: Callable[[Frame], None] | None = None
        self._decoder = Decoder(FROM_GATEWAY)
        self._pending: deque[Frame] = deque()
        self._lock = threading.Lock()
        self._held = b""
        self._later: list[bytes | memoryview] = []
        self._later_bytes = 0
        self._holding_since = 0.0
        self._prompt_until = 0.0
        self._on_lost = on_lost

    @property
    def sending(self) -> bool:
        """A frame may be half written: nothing may be raised now."""
        return self._lock.locked()

    def send(self, data: bytes) -> None:
        """Write whole frames; waits for the gateway when the socket is full."""
        if self._later:
            self.send_parts([data])
            return
        try:
            with self._lock:
                if self._held:
                    data, self._held = self._held + data, b""
                self.wire.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._on_lost()

    def send_parts(self, parts: list[bytes | memoryview]) -> None:
        """Write whole frames that lie in pieces, without putting them together first."""
        try:
            with self._lock:
                if self._later:
                    parts, self._later = self._later + parts, []
                    self._later_bytes = 0
                if self._held:
                    parts.insert(0, self._held)
                    self._held = b""
                written = os.writev(self.wire.fileno(), parts) if parts else 0
                if written < sum(map(len, parts)):
                    self.wire.sendall(memoryview(b"".join(parts))[written:])
        except (BrokenPipeError, ConnectionResetError):
            self._on_lost()

    def send_soon(self, parts: list[bytes | memoryview], size: int) -> None:
        """Write whole frames of so many bytes before the running loop waits for anything, or with
        whatever is written next."""
        with self._lock:
            if self._later:
                self._later += parts
                self._later_bytes += size
            else:
                asyncio.get_running_loop().call_soon(self._send_later)
                self._later, self._later_bytes = parts, size
        if self._later_bytes >= _TOGETHER:
            self._send_later()

    def _send_later(self) -> None:
        if self._later:
            self.send_parts([])

    def send_last(self, data: bytes) -> None:
        """Write the end of an invocation, together with others that end in the same moment."""
        held = self._holding_since and not self._later
        if held and time.monotonic() - self._holding_since < _HOLD_SECONDS:
            with self._lock:
                self._held += data
        else:
            self.send(data)

    def poll(self) -> None:
        """Dispatch every frame that has arrived, without waiting."""
        try:
            data = self.wire.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._on_lost()
            return
        frames = self._decoder.feed(data)
        if len(frames) == 1 and not self._pending and self.on_frame is not None:
            # One request, as most wake-ups bring: the shortest way.
            self.on_frame(frames[0])
            return
        self._pending.extend(frames)
        if len(self._pending) == 1:
            self.dispatch_pending()
            return
        began = time.monotonic()
        if began > self._prompt_until:
            self._holding_since = began
        try:
            self.dispatch_pending()
        finally:
            self._holding_since = 0.0
            if self._held:
                self.send(b"")
            ended = time.monotonic()
            if ended - began > _SLOW_SECONDS:
                self._prompt_until = ended + _PROMPT_SECONDS

    def dispatch_pending(self) -> None:
        """Dispatch frames read while something else was waited for."""
        pending, on_frame = self._pending, self.on_frame
        while pending and on_frame is not None:
            on_frame(pending.popleft())

    def next_frame(self) -> Frame:
        """Wait, blocking the thread, for the next frame."""
        self._send_later()
        while not self._pending:
            try:
                data = self.wire.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                self._on_lost()
                raise ConnectionResetError("the gateway closed the wire")
            self._pending.extend(self._decoder.feed(data))
        return self._pending.popleft()

    def pump(self, until: Callable[[], bool]) -> None:
        """Dispatch frames, blocking the thread, until the predicate holds."""
        while not until():
            frame = self.next_frame()
            if self.on_frame is not None:
                self.on_frame(frame)


class IncomingBody:
    """Body bytes the gateway sends on one stream; credit goes back as they are consumed."""

    __slots__ = ("_channel", "_chunks", "_error", "_stream", "_unacknowledged", "_waiter", "ended")

    def __init__(self, channel: Channel, stream: int, *, ended: bool) -> None:
        self.ended = ended
        self._channel = channel
        self._stream = stream
        self._chunks: deque[bytes] = deque()
        self._error: BaseException | None = None
        self._unacknowledged = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def finished(self) -> bool:
        """Everything was received and consumed."""
        return self.ended and not self._chunks

    @property
    def _ready(self) -> bool:
        return self.ended or bool(self._chunks) or self._error is not None

    def feed(self, data: bytes, *, ended: bool) -> None:
        """Take one BODY frame."""
        if data:
            self._chunks.append(data)
        self.ended = self.ended or ended
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Let the reader raise ``error`` once it has consumed what came before."""
        if not self.ended and self._error is None:
            self._error = error
            self._wake()

    async def read_chunk(self) -> bytes:
        """Return the next chunk, ``b""`` at the end."""
        while not self._ready:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    def read_chunk_blocking(self) -> bytes:
        """Return the next chunk, ``b""`` at the end, blocking the thread."""
        if not self._ready:
            self._channel.pump(lambda: self._ready)
        return self._take()

    def _take(self) -> bytes:
        if not self._chunks:
            if self._error is not None:
                raise self._error
            return b""
        if len(self._chunks) == 1:
            chunk = self._chunks.popleft()
        else:
            # Who reads slowly is to pay for its pauses, not for each small piece that came in them.
            chunk = b"".join(self._chunks)
            self._chunks.clear()
        if not self.ended:
            self._unacknowledged += len(chunk)
            if self._unacknowledged >= _CREDIT_STEP:
                self._channel.send(encode_credit(self._stream, self._unacknowledged))
                self._unacknowledged = 0
        return chunk

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class OutgoingBody:
    """Body bytes the instance sends on one stream, never more than the gateway gave credit for."""

    __slots__ = ("_channel", "_credit", "_stream", "_waiter", "closed", "ended")

    def __init__(self, channel: Channel, stream: int) -> None:
        self.ended = False
        self.closed = False
        """Nobody reads any more: what is written is dropped."""
        self._channel = channel
        self._credit = WINDOW
        self._stream = stream
        self._waiter: asyncio.Future[None] | None = None

    def fits(self, length: int) -> bool:
        """Whether so many bytes may go out at once, in one frame."""
        return length <= CHUNK and length <= self._credit

    def end_with(self, data: bytes) -> None:
        """The caller sends this, and it is the whole rest of this body."""
        self._credit -= len(data)
        self.ended = True

    def frame(self, data: bytes) -> bytes:
        """Build the frame that is the whole rest of this body; the caller sends it."""
        self.end_with(data)
        return encode(FrameType.BODY, self._stream, data, END)

    def grant(self, amount: int) -> None:
        """Take credit from the gateway."""
        self._credit += amount
        self._wake()

    def close(self) -> None:
        """Stop sending: the reader is gone."""
        self.closed = True
        self._wake()

    async def write(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes, waiting for credit."""
        size = len(data)
        soon = size >= _LARGE and not end
        if soon and size <= CHUNK and size < self._credit and not (self.closed or self.ended):
            # As nearly all pieces of what streams.
            self._credit -= size
            header = encode_header(FrameType.BODY, self._stream, size)
            self._channel.send_soon([header, data], size)
            return
        offset = self._push(data, 0, end=end, soon=soon)
        while offset < len(data) and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            offset = self._push(data, offset, end=end, soon=soon)

    def write_blocking(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes, blocking the thread until there is credit."""
        offset = self._push(data, 0, end=end)
        while offset < len(data) and not self.closed:
            self._channel.pump(lambda: self._credit > 0 or self.closed)
            offset = self._push(data, offset, end=end)

    def _push(self, data: bytes, offset: int, *, end: bool, soon: bool = False) -> int:
        """Send what the credit allows from ``offset`` on; return where it stopped."""
        if self.closed or self.ended:
            return len(data)
        parts: list[bytes | memoryview] = []
        begin, total = offset, len(data)
        view = memoryview(data)
        while offset < total and self._credit > 0:
            size = min(CHUNK, self._credit, total - offset)
            self._credit -= size
            self.ended = end and offset + size == total
            flags = END if self.ended else 0
            parts.append(encode_header(FrameType.BODY, self._stream, size, flags))
            parts.append(view[offset : offset + size])
            offset += size
        if end and total == 0:
            self.ended = True
            parts.append(encode(FrameType.BODY, self._stream, b"", END))
        if parts and soon and self._credit > 0:
            self._channel.send_soon(parts, offset - begin)
        elif parts:
            self._channel.send_parts(parts)
        return offset

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
