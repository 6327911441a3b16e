"""The instance's end of a WebSocket: whole messages for the tenant, frames with credit on the wire.

The gateway speaks RFC 6455 with the client; what comes here are messages, in parts, and one close.
"""

from __future__ import annotations

import asyncio
from collections import deque

from sandbox.payloads import (
    LOST,
    MAX_CLOSE_REASON,
    NO_CODE,
    Close,
    decode_struct,
    encode_struct,
    may_close_with,
)
from sandbox.protocol import (
    CHUNK,
    END,
    MESSAGE_COST,
    WINDOW,
    Frame,
    FrameType,
    encode,
    encode_credit,
)
from sandbox.runtime.channel import Channel, OutgoingBody

Message = str | bytes


class SocketClosed(OSError):
    """The WebSocket is closed: nothing more can be sent."""


class SocketWire:
    """Messages both ways on one stream. Sending never waits unless it is awaited."""

    __slots__ = (
        "_bell",
        "_channel",
        "_credit",
        "_end",
        "_limit",
        "_messages",
        "_outbox",
        "_parts",
        "_stream",
        "closed",
        "opened",
    )

    def __init__(self, channel: Channel, stream: int, limit: int, end: OutgoingBody) -> None:
        self.opened = False
        """The handler has accepted; before, what is sent is kept back."""
        self.closed: Close | None = None
        """How the client's side ended."""
        self._channel = channel
        self._stream = stream
        self._limit = limit
        self._end = end
        """Marked as ended once our close has been sent."""
        self._credit = WINDOW
        self._parts: list[bytes] = []
        self._messages: deque[tuple[Message, int]] = deque()
        self._outbox: deque[tuple[FrameType, memoryview] | Close] = deque()
        self._bell: list[asyncio.Future[None]] = []

    # The tenant's side

    def open(self) -> None:
        """The handler has accepted, and its answer has been sent."""
        self.opened = True
        self._push()

    @property
    def closing(self) -> bool:
        """Nothing more can be sent."""
        return self.closed is not None or self._end.ended or self._is_last_said()

    @property
    def waiting(self) -> bool:
        """A message can be taken."""
        return bool(self._messages)

    def take(self) -> Message:
        """Take the oldest message; the gateway may send another in its place."""
        message, cost = self._messages.popleft()
        self._channel.send(encode_credit(self._stream, cost))
        return message

    async def receive(self) -> Message | None:
        """Return the next message, None once the WebSocket is closed."""
        while not self._messages:
            if self.closed is not None or self._end.ended:
                return None
            await self.changed()
        return self.take()

    def put(self, message: Message) -> None:
        """Send a message as soon as there is credit.

        Raises TypeError, ValueError when it is too long, SocketClosed.
        """
        if isinstance(message, str):
            kind, data = FrameType.TEXT, message.encode()
        elif isinstance(message, bytes | bytearray | memoryview):
            kind, data = FrameType.BINARY, bytes(message)
        else:
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        if self.closing:
            raise SocketClosed("the WebSocket is closed")
        if len(data) > self._limit:
            raise ValueError(f"a message of {len(data)} bytes; the plan allows {self._limit} bytes")
        self._outbox.append((kind, memoryview(data)))
        self._push()

    async def send(self, message: Message) -> None:
        """Send a message and wait until it is on its way. Raises as ``put``."""
        self.put(message)
        await self.flushed()

    async def flushed(self) -> None:
        """Return when everything has been sent, or will never be."""
        while self._outbox and self.closed is None:
            await self.changed()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what was sent before. Raises ValueError for a code that may not be sent."""
        if code != NO_CODE and not may_close_with(code):
            raise ValueError(f"a WebSocket cannot be closed with code {code}")
        if len(reason.encode()) > MAX_CLOSE_REASON:
            raise ValueError(f"a close reason may be {MAX_CLOSE_REASON} bytes long")
        if not self.closing:
            self._outbox.append(Close(code, reason))
            self._push()

    def _is_last_said(self) -> bool:
        return bool(self._outbox) and isinstance(self._outbox[-1], Close)

    async def changed(self) -> None:
        """Return when something came in, or went out."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bell.append(future)
        await future

    def ring(self) -> None:
        """Let those who wait look again."""
        bell, self._bell = self._bell, []
        for future in bell:
            if not future.done():
                future.set_result(None)

    # The wire's side

    def on_frame(self, frame: Frame) -> None:
        """Take a TEXT, BINARY or CLOSE frame."""
        if frame.type == FrameType.CLOSE:
            self._on_close(decode_struct(Close, frame.payload))
            return
        if frame.type not in (FrameType.TEXT, FrameType.BINARY):
            return
        self._parts.append(frame.payload)
        cost = len(frame.payload) + MESSAGE_COST
        if not frame.flags & END:
            self._channel.send(encode_credit(self._stream, cost))
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        message = data.decode() if frame.type == FrameType.TEXT else data
        self._messages.append((message, cost))
        self.ring()

    def _on_close(self, close: Close) -> None:
        self.closed = close
        self._outbox.clear()
        if self.opened and not self._end.ended:
            self._say(close if may_close_with(close.code) else Close(NO_CODE, ""))
        self.ring()

    def grant(self, amount: int) -> None:
        """Take credit from the gateway."""
        self._credit += amount
        self._push()

    def lost(self) -> None:
        """Nobody is there any more."""
        if self.closed is None:
            self.closed = Close(LOST, "")
            self._outbox.clear()
            self.ring()

    def _push(self) -> None:
        if not self.opened:
            return
        frames: list[bytes] = []
        outbox = self._outbox
        while outbox:
            item = outbox[0]
            if isinstance(item, Close):
                outbox.popleft()
                if frames:
                    self._channel.send(b"".join(frames))
                self._say(item)
                self.ring()
                return
            if self._credit <= MESSAGE_COST:
                break
            kind, data = item
            part = data[: min(CHUNK, self._credit - MESSAGE_COST)]
            self._credit -= len(part) + MESSAGE_COST
            rest = data[len(part) :]
            frames.append(encode(kind, self._stream, part.tobytes(), 0 if rest else END))
            if rest:
                outbox[0] = (kind, rest)
            else:
                outbox.popleft()
        if frames:
            self._channel.send(b"".join(frames))
            self.ring()

    def _say(self, close: Close) -> None:
        self._channel.send(encode_struct(FrameType.CLOSE, self._stream, close))
        self._end.ended = True
