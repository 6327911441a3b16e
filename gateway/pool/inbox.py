"""Body bytes that an instance sent and nobody has taken yet."""

from __future__ import annotations

from collections import deque

from sandbox.protocol import CHUNK

_SMALL = 4096


class Inbox(deque[bytes | bytearray]):
    """A queue of pieces. Small ones are joined while they wait: credit counts their bytes, and a
    window full of two-byte objects would take thirty windows of memory."""

    __slots__ = ()

    def put(self, piece: bytes) -> None:
        """Add bytes at the end."""
        if self and len(piece) < _SMALL and len(self[-1]) + len(piece) <= CHUNK:
            last = self[-1]
            if not isinstance(last, bytearray):
                last = self[-1] = bytearray(last)
            last += piece
        else:
            self.append(piece)

    def take(self) -> bytes:
        """The oldest piece. Raises IndexError when there is none."""
        piece = self.popleft()
        return piece if isinstance(piece, bytes) else bytes(piece)
