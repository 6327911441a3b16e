"""The client's end of a WebSocket: frames of a hostile client to parts of messages, and back.

wsproto reads the frames: it hands out payload as it comes, so that no message is ever held here,
and tells a frame's length before its payload, so that one too long is refused at once.
Compression is not offered: a few bytes of it can stand for a gigabyte.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl
from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
    RsvBits,
)

from gateway.edge.cork import CorkedTransport
from gateway.model.websocket import UNPACED, Pace, Part
from sandbox.payloads import LOST, MAX_CLOSE_REASON, NO_CODE, Close

MAX_INBOX: Final = 64 * 1024
"""Bytes that wait for the tenant before the client is not read any more."""
PART_COST: Final = 512
"""What a part counts in the inbox on top of its bytes."""
FRAMES_A_TURN: Final = 16
"""Frames of one client that are read before others have their turn."""
SENT_A_TURN: Final = 16
"""Frames that one client is sent before others have their turn."""
SENT_FOR_ONE: Final = 4
"""Frames that can be sent in the time that it takes to read one."""
MAX_FRAGMENTS: Final = 16_384
"""Frames that one message may come in."""
PONGS_A_TURN: Final = 16
"""Pings of one client that are answered in a turn: the newest."""
CLOSE_SECONDS: Final = 5.0
"""How long a client may take to answer a close."""
MISSED_PINGS: Final = 2
"""Pings without a sign of life after which the client counts as gone."""

_GOING_AWAY: Final = 1001
_BAD_GATEWAY: Final = struct.pack("!H", 1014)
_MASKED: Final = 0x80


class _Bounds(Extension):
    """Looks at each frame's head before its payload is read."""

    name = "waypost-bounds"

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._size = 0
        self._fragments = 0

    def enabled(self) -> bool:
        """Whether it takes part."""
        return True

    def offer(self) -> bool | str:
        """Nothing to offer: no client knows of it."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Refuse a frame that makes its message too long."""
        if not opcode.iscontrol():
            if opcode is not Opcode.CONTINUATION:
                self._size = self._fragments = 0
            self._size += payload_length
            self._fragments += 1
            if self._size > self._max or self._fragments > MAX_FRAGMENTS:
                return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(False, False, False)


class _AnyMask(FrameDecoder):
    """Reads frames whether they are masked or not."""

    def parse_header(self) -> bool:
        """Expect of each frame what it says of itself."""
        head = self.buffer.consume_exactly(2)
        self.buffer.rollback()
        if head is None:
            return False
        self.client = not head[1] & _MASKED
        return super().parse_header()


class _Frames(FrameProtocol):
    """Takes a close with any code of the registry; the library knows none after 1013."""

    def _process_close(self, frame: Frame) -> Frame:
        payload = frame.payload
        if not isinstance(payload, (bytes, bytearray)) or payload[:2] != _BAD_GATEWAY:
            return super()._process_close(frame)
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            message = "CLOSE with a reason that is not UTF-8"
            raise ParseFailed(message, CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
        (code,) = struct.unpack("!H", _BAD_GATEWAY)
        return frame._replace(payload=(code, reason))


class _Lenient(_Frames):
    """For clients of the control API that forget the mask, which is there for proxies' sake."""

    def __init__(self, client: bool, extensions: list[Extension]) -> None:
        super().__init__(client, extensions)
        self._frame_decoder = _AnyMask(client, extensions)


class ClientSocket:
    """An open WebSocket with a client."""

    def __init__(
        self,
        transport: CorkedTransport,
        flow: FlowControl,
        *,
        max_message: int,
        ping_seconds: float,
        masked: bool = True,
    ) -> None:
        self.pace: Pace = UNPACED
        self.pinged = False
        """A ping has come since this was last put out."""
        self._transport = transport
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        kind = _Frames if masked else _Lenient
        self._frames = kind(client=False, extensions=[_Bounds(max_message)])
        self._inbox: deque[Part | Close] = deque()
        self._inbox_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._stalled = False
        """Frames wait to be read, until there is room for what they bring."""
        self._in_turn = False
        """They wait for the tenant's turn."""
        self._pongs: deque[bytes] = deque(maxlen=PONGS_A_TURN)
        self._mid_message = False
        """The last frame sent was not the last of its message."""
        self._close_sent = False
        self._sent = 0
        """Frames since the last turn."""
        self.over: Close | None = None
        self.on_over: Callable[[], None] = lambda: None
        self._silent = 0
        self._frames_read = 0
        self._ping_seconds = ping_seconds
        self._timer = self._loop.call_later(ping_seconds, self._ping)

    # The corridor's side

    async def receive(self) -> Part | Close:
        """What the client sends next; a Close is the last."""
        while not self._inbox:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._inbox[0]
        if isinstance(item, Part):
            self._inbox.popleft()
            self._inbox_bytes -= len(item.data) + PART_COST
            if self._stalled and self._inbox_bytes <= MAX_INBOX // 2:
                self._read()
        return item

    async def send(self, part: Part) -> None:
        """Send; returns when the connection can take more. Dropped once it is closing."""
        if self.over is not None or self._close_sent:
            return
        if self._mid_message:
            opcode = Opcode.CONTINUATION
        else:
            opcode = Opcode.TEXT if part.text else Opcode.BINARY
        self._mid_message = not part.last
        self._transport.write(encode_frame(opcode, part.data, last=part.last))
        self._sent += 1
        if self._sent >= SENT_A_TURN:
            self._sent = 0
            await self._turn()
        await self._flow.drain()

    async def _turn(self) -> None:
        """Let others go on: as long as the client reads, sending takes no waiting."""
        future: asyncio.Future[None] = self._loop.create_future()
        if not self.pace.passes(partial(_wake, future)):
            await future
        self.pace.spent(SENT_A_TURN // SENT_FOR_ONE)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; the client has a while to answer it."""
        if self.over is not None or self._close_sent:
            return
        self._say_close(code, reason)
        self._inbox.clear()
        self._inbox_bytes = 0
        self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self._give_up)
        if self._stalled:
            self._read()
        else:
            self._flow.resume_reading()

    def going_away(self) -> None:
        """The node stops."""
        self.close(_GOING_AWAY, "The server is going away.")

    # The connection's side

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._silent = 0
        if self.over is not None:
            return
        self._frames.receive_bytes(data)
        if not self._stalled:
            self._read()

    def lost(self) -> None:
        """The connection is gone."""
        self._end(Close(LOST, ""))

    def writable(self) -> None:
        """The client has read what waited for it."""
        if self._stalled:
            self._read()

    # Reading

    def _read(self) -> None:
        """Read frames, now or in the tenant's turn."""
        if self._in_turn:
            return
        if self.pace.passes(self._on_turn):
            self._read_now()
        else:
            self._in_turn = self._stalled = True
            self._flow.pause_reading()

    def _on_turn(self) -> None:
        self._in_turn = False
        if self._stalled and self.over is None and not self._flow.write_paused:
            self._read_now()

    def _read_now(self) -> None:
        self._frames_read = 0
        self._read_frames()
        self.pace.spent(self._frames_read)

    def _read_frames(self) -> None:
        self._stalled = False
        try:
            for _ in range(FRAMES_A_TURN):
                if self._inbox_bytes > MAX_INBOX:
                    break
                frame = next(self._frames.received_frames(), None)
                if frame is None:
                    self._answer_pings()
                    if not self._flow.write_paused:
                        self._flow.resume_reading()
                    return
                self._take(frame)
                if self.over is not None:
                    return
        except ParseFailed as error:
            self._fail(error)
            return
        self._answer_pings()
        self._stalled = True
        self._flow.pause_reading()
        if self._inbox_bytes <= MAX_INBOX:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._stalled and self.over is None and not self._flow.write_paused:
            self._read()

    def _take(self, frame: Frame) -> None:
        self._frames_read += 1
        payload = frame.payload
        if frame.opcode is Opcode.CLOSE and isinstance(payload, tuple):
            self._on_close(int(payload[0]), payload[1])
        elif frame.opcode is Opcode.PING and isinstance(payload, bytes):
            self._pongs.append(payload)
            self.pinged = True
        elif not frame.opcode.iscontrol() and not self._close_sent:
            text = isinstance(payload, str)
            data = payload.encode() if isinstance(payload, str) else payload
            if isinstance(data, bytes) and (data or frame.message_finished):
                self._inbox.append(Part(text, data, frame.message_finished))
                self._inbox_bytes += len(data) + PART_COST
                self._wake()

    def _on_close(self, code: int, reason: str) -> None:
        self._answer_pings()
        if not self._close_sent:
            self._say_close(code, "")
        self._end(Close(code, reason))
        self._transport.close()

    def _answer_pings(self) -> None:
        """Answer the newest pings (RFC 6455 §5.5.3); none to a client that does not read."""
        if self._pongs and not self._flow.write_paused and not self._close_sent:
            pongs = [encode_frame(Opcode.PONG, payload, last=True) for payload in self._pongs]
            self._transport.write(b"".join(pongs))
        self._pongs.clear()

    def _fail(self, error: ParseFailed) -> None:
        code = int(error.code)
        reason = "message too big" if code == CloseReason.MESSAGE_TOO_BIG else str(error)[:100]
        if not self._close_sent:
            self._say_close(code, reason)
        self._end(Close(code, reason))
        # What the client still sends is read and dropped, so that it gets to read why.
        self._transport.unread = True
        self._flow.resume_reading()
        self._transport.close()

    # Ending

    def _say_close(self, code: int, reason: str) -> None:
        self._close_sent = True
        payload = b""
        if code != NO_CODE:
            text = reason.encode()[:MAX_CLOSE_REASON].decode("utf-8", "ignore").encode()
            payload = struct.pack("!H", code) + text
        self._transport.write(encode_frame(Opcode.CLOSE, payload, last=True))

    def _end(self, close: Close) -> None:
        if self.over is not None:
            return
        self.over = close
        self._timer.cancel()
        if close.code == LOST:
            # Nobody waits for an answer to it any more.
            self._inbox.clear()
        self._inbox.append(close)
        self._wake()
        self.on_over()

    def _give_up(self) -> None:
        self._transport.abort()
        self.lost()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _ping(self) -> None:
        """Ask for a sign of life; a client that is not read cannot give one."""
        if not self._flow.read_paused:
            self._silent += 1
        if self._silent > MISSED_PINGS:
            self._give_up()
            return
        if not self._flow.write_paused:
            self._transport.write(encode_frame(Opcode.PING, b"", last=True))
        self._timer = self._loop.call_later(self._ping_seconds, self._ping)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def encode_frame(opcode: Opcode, payload: bytes, *, last: bool) -> bytes:
    """Write one frame of a server's: unmasked."""
    first = opcode | 0x80 if last else int(opcode)
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload
