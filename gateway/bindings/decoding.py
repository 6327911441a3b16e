"""Undoing Content-Encoding a bounded piece at a time, so that no answer can inflate in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

MAX_PIECE: Final = 64 * 1024
"""Longest piece that comes out, bytes."""
ACCEPTED: Final = b"gzip, deflate"
"""What is asked for when the tenant asks for nothing in particular."""
_GZIP: Final = 16 + zlib.MAX_WBITS


class Decoder(Protocol):
    """Encoded bytes in, pieces of plain bytes out."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode more; pieces may be empty. Raises ValueError at what is not in the encoding."""

    def finish(self) -> None:
        """The input is over. Raises ValueError when it was cut short."""


class ZlibDecoder:
    """``gzip`` (of any number of members) or ``deflate`` (with or without zlib's header)."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._state = zlib.decompressobj(window_bits)
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode more, in pieces of at most MAX_PIECE bytes."""
        while data:
            if self._state.eof:
                # Another gzip member may follow; padding and whatever else is not content.
                if self._window_bits != _GZIP or not data.startswith(b"\x1f"):
                    return
                self._state = zlib.decompressobj(_GZIP)
            piece = self._decompress(data)
            data = self._state.unconsumed_tail or self._state.unused_data
            # Also an empty one, of which there may be thousands: so each ends a step.
            yield piece
            # What fills a piece exactly may leave more inside although all input is consumed.
            while len(piece) == MAX_PIECE and not data and not self._state.eof:
                piece = self._decompress(b"")
                if piece:
                    yield piece

    def _decompress(self, data: bytes) -> bytes:
        first, self._fed = not self._fed, True
        try:
            return self._state.decompress(data, MAX_PIECE)
        except zlib.error as error:
            if not first or self._window_bits != zlib.MAX_WBITS:
                raise ValueError(
                    f"the body is not what its Content-Encoding says: {error}"
                ) from None
        # Some servers send deflate without the header that RFC 9110 §8.4.1.2 asks for.
        self._window_bits = -zlib.MAX_WBITS
        self._state = zlib.decompressobj(self._window_bits)
        return self._decompress(data)

    def finish(self) -> None:
        """Check that the stream came to its end; an empty body is fine."""
        if self._fed and not self._state.eof:
            raise ValueError("the body ends in the middle of its Content-Encoding")


def decoder_for(content_encoding: bytes) -> Decoder | None:
    """The decoder for a Content-Encoding; None when there is nothing to undo or no way to."""
    name = content_encoding.strip().lower()
    if name in (b"gzip", b"x-gzip"):
        return ZlibDecoder(_GZIP)
    if name == b"deflate":
        return ZlibDecoder(zlib.MAX_WBITS)
    return None
