"""Content decoding in bounded pieces."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bindings.decoding import MAX_PIECE, decoder_for


def decode(encoding: bytes, *chunks: bytes) -> bytes:
    decoder = decoder_for(encoding)
    assert decoder is not None
    plain = b"".join(piece for chunk in chunks for piece in decoder.feed(chunk))
    decoder.finish()
    return plain


def raw_deflate(data: bytes) -> bytes:
    state = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return state.compress(data) + state.flush()


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_however_it_is_cut_it_comes_out_whole(data: bytes, size: int) -> None:
    for name, encoded in ((b"gzip", gzip.compress(data)), (b"deflate", zlib.compress(data))):
        chunks = [encoded[i : i + size] for i in range(0, len(encoded), size)]
        assert decode(name, *chunks) == data


def test_variants() -> None:
    assert decode(b" X-GZIP ", gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    assert decode(b"gzip", gzip.compress(b"a") + b"\x00\x00padding") == b"a"
    assert decode(b"deflate", raw_deflate(b"hello")) == b"hello"
    assert decode(b"gzip") == b""
    assert decoder_for(b"br") is None
    assert decoder_for(b"gzip, gzip") is None


@pytest.mark.parametrize("size", [MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE])
def test_sizes_around_a_piece(size: int) -> None:
    assert decode(b"gzip", gzip.compress(b"x" * size)) == b"x" * size


def test_a_bomb_comes_out_in_pieces() -> None:
    decoder = decoder_for(b"gzip")
    assert decoder is not None
    pieces = decoder.feed(gzip.compress(b"\x00" * (50 << 20)))
    assert max(len(piece) for piece in pieces) <= MAX_PIECE


@pytest.mark.parametrize(
    "encoded", [b"not gzip", gzip.compress(b"x" * 1000)[:-9], gzip.compress(b"x")[:5]]
)
def test_what_is_broken_is_said_to_be(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="Content-Encoding"):
        decode(b"gzip", encoded)
