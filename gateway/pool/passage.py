"""How large bodies leave an instance's wire: each piece from the buffer that it was read into.

While an answer streams, copying its bytes costs as much as all else that is done for them. The
wire is then read into one buffer, and what lies there of a large BODY frame goes to the client from
where it lies. All else on the wire goes the ordinary way, and so does what a client cannot take.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sandbox.protocol import CHUNK, END, HEADER, HEADER_SIZE, WINDOW, Decoder, FrameType

if TYPE_CHECKING:
    from gateway.pool.channel import Channel

LARGE: Final = 16 * 1024
"""Bytes of a frame; one with less goes the ordinary way, in which small ones are put together."""
BUFFER_BYTES: Final = 2 * (WINDOW + WINDOW // CHUNK * HEADER_SIZE)
"""All that an instance has credit for: what remained would be read, and sent, by itself."""


class _Shared(threading.local):
    """One buffer for all instances that an event loop reads from: what was read is used up before
    the loop does anything else. Each piece that is handed out is taken back at once; who still
    holds it gets a ValueError, no bytes."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER_BYTES))


_shared = _Shared()

Sink = Callable[[list[memoryview], int], bool]
"""Takes so many bytes, which are gone when it returns; False: it has taken none of them."""


def _refuse(_: list[memoryview], size: int) -> bool:
    return False


class Passage(asyncio.BufferedProtocol):
    """Takes the place of a channel as the reader of its wire."""

    def __init__(self, channel: Channel, decoder: Decoder) -> None:
        self._channel = channel
        self._decoder = decoder
        self._buffer = _shared.buffer
        self._stream = 0
        self._flags = 0
        self._skip = 0
        """Bytes of its header that lie before it."""
        self._left = 0
        """Bytes that are still to come of the frame at hand."""
        self.transport: asyncio.Transport | None = None
        self.sinks: dict[int, Sink] = {}
        """Streams of answers that are passed on, and where to."""

    def open(self, stream: int, sink: Sink) -> None:
        """Pass on large pieces of this answer."""
        self.sinks[stream] = sink
        self._read_with(self)

    def close(self, stream: int) -> None:
        """Pass nothing on of this answer any more."""
        self.sinks.pop(stream, None)

    def feed(self, data: bytes) -> None:
        """Take bytes that were read by other means, no more than ``BUFFER_BYTES``."""
        if self._decoder.left or not (self._left or self.sinks):
            self._channel.data_received(data)
        else:
            self._buffer[: len(data)] = data
            self.buffer_updated(len(data))

    def _read_with(self, reader: asyncio.BaseProtocol) -> None:
        transport = self.transport
        if transport is None or self._channel.closed or transport.get_protocol() is reader:
            return
        reading = transport.is_reading()
        transport.pause_reading()
        transport.set_protocol(reader)
        if reading:
            transport.resume_reading()

    def pause_writing(self) -> None:
        """More waits for the instance than is good."""
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        """The instance has read most of it."""
        self._channel.resume_writing()

    def eof_received(self) -> None:
        """The instance closed its end, or died."""
        self._channel.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The instance closed its end, or died."""
        self._channel.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the instance."""
        channel = self._channel
        with self._buffer[:nbytes] as data:
            at = self._complete(data)
            while at < nbytes and not channel.closed:
                if self._left or self._begin(data, at):
                    at = self._carry(data, at)
                else:
                    channel.data_received(bytes(data[at:]))
                    break
        if not (self._left or self.sinks):
            self._read_with(channel)

    def _complete(self, data: memoryview) -> int:
        """Complete the frame that began in an earlier read; where the next one begins."""
        at = 0
        while (missing := self._decoder.missing) and at < len(data) and not self._channel.closed:
            self._channel.data_received(bytes(data[at : at + missing]))
            at += missing
        return at

    def _begin(self, data: memoryview, at: int) -> bool:
        """Whether a large frame begins here, of an answer that is passed on."""
        if len(data) - at <= HEADER_SIZE:
            return False
        length, kind, flags, reserved, stream = HEADER.unpack_from(data, at)
        if kind != FrameType.BODY or not LARGE <= length <= CHUNK or reserved or flags > END:
            return False
        if stream not in self.sinks:
            return False
        self._left, self._skip, self._stream, self._flags = length, HEADER_SIZE, stream, flags
        return True

    def _carry(self, data: memoryview, at: int) -> int:
        """Hand on what has come of the frame at hand, with those after it that are like it; where
        that ends."""
        pieces: list[memoryview] = []
        stream = self._stream
        while True:
            begin = at + self._skip
            at = min(begin + self._left, len(data))
            self._left -= at - begin
            self._skip = 0
            pieces.append(data[begin:at])
            last = not self._left and self._flags
            if last or not self._begin(data, at) or self._stream != stream:
                break
        flags = self._flags if last else 0
        try:
            self._channel.carry(stream, pieces, flags, self.sinks.get(stream, _refuse))
        finally:
            for piece in pieces:
                piece.release()
        return at
