"""Body bytes that an instance sent and nobody has taken yet."""

from __future__ import annotations

from collections import deque

from sandbox.protocol import CHUNK

_SMALL = 4096


class Inbox:
    """A queue of pieces. Small ones are joined while they wait: credit counts their bytes, and a
    window full of two-byte objects would take thirty windows of memory."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[bytes | bytearray] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    def put(self, piece: bytes) -> None:
        """Add bytes at the end."""
        pieces = self._pieces
        if pieces and len(piece) < _SMALL and len(pieces[-1]) + len(piece) <= CHUNK:
            last = pieces[-1]
            if not isinstance(last, bytearray):
                last = pieces[-1] = bytearray(last)
            last += piece
        else:
            pieces.append(piece)

    def take(self) -> bytes:
        """The oldest piece. Raises IndexError when there is none."""
        piece = self._pieces.popleft()
        return piece if isinstance(piece, bytes) else bytes(piece)
