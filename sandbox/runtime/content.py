"""What follows the INIT frame: the bytes of a script, as they come and without being held."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.errors import ProtocolError
from sandbox.protocol import END, FrameType
from sandbox.runtime.channel import Channel


class Content:
    """Bytes to be taken in order, file by file."""

    def __init__(self, channel: Channel, *, ended: bool) -> None:
        self._channel = channel
        self._ended = ended
        self._rest = memoryview(b"")

    def take(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes in pieces. Raises ProtocolError when fewer came."""
        while size:
            if not self._rest:
                self._rest = self._next()
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def skip(self) -> None:
        """Read what is left, and drop it."""
        while not self._ended:
            self._next()

    def finish(self) -> None:
        """Read the end. Raises ProtocolError when bytes are left that no file was announced for."""
        left = len(self._rest)
        while not self._ended:
            left += len(self._next())
        if left:
            raise ProtocolError(f"{left} bytes more than the modules that were announced")

    def _next(self) -> memoryview:
        if self._ended:
            raise ProtocolError("fewer bytes than the modules that were announced")
        frame = self._channel.next_frame()
        if frame.type != FrameType.BODY or frame.stream:
            raise ProtocolError(f"frame type {frame.type} within the modules")
        self._ended = bool(frame.flags & END)
        return memoryview(frame.payload)
