"""What a chunked body announces: how long the next chunk is, before it has come.

The parser tells that a chunk's head was read, but neither where it stood nor how long the chunk is.
Where it ended follows from how many bytes of the chunk came after it.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import BadRequest

MAX_KEPT: Final = 64
"""Bytes of a chunk's head that are kept until its end comes; leading zeros are not."""
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?=[;\r])")
# Each changes for the parser, after the fact, how the message is framed or the connection goes on.
_NOT_IN_TRAILERS: Final = frozenset(
    {b"connection", b"proxy-connection", b"upgrade", b"content-length", b"transfer-encoding"}
)


class ChunkHeads:
    """Reads the sizes of one body's chunks, beside the parser."""

    __slots__ = ("_begun", "_come", "_inside", "_line")

    def __init__(self) -> None:
        self._inside = False
        self._begun = False
        """A chunk began in the piece at hand."""
        self._come = 0
        """Bytes of the chunk at hand that have come."""
        self._line = b""
        """What came of a head that is not complete."""

    def begin(self) -> None:
        """A chunk's head was read."""
        self._inside = self._begun = True
        self._come = 0

    def end(self) -> None:
        """A chunk is complete."""
        self._inside = False

    def came(self, size: int) -> None:
        """So many bytes of a chunk came."""
        self._come += size

    def announced(self, piece: bytes) -> int:
        """Bytes of the chunk that ``piece``, which was read just now, leaves incomplete; 0 when
        there is none, or it was announced before."""
        begun, self._begun = self._begun, False
        if not self._inside:
            start = piece.rfind(b"\n") + 1
            line = piece[start:] if start else self._line + piece
            self._line = line.lstrip(b"0")[:MAX_KEPT]
            return 0
        before, self._line = self._line, b""
        if not begun:
            return 0
        end = len(piece) - self._come
        start = piece.rfind(b"\n", 0, max(0, end - 1)) + 1
        line = piece[start:end] if start else before + piece[:end]
        size = _SIZE.match(line.lstrip(b"0"))
        return int(size[0], 16) if size else 0


def check_trailer(name: bytes) -> None:
    """Look at a field after a body. Raises BadRequest for one that only a head may have."""
    if name.lower() in _NOT_IN_TRAILERS:
        raise BadRequest(
            f"The field {name.decode('latin-1')} may not follow a body: it belongs into the head."
        )
