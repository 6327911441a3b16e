"""What a chunked body announces, wherever its pieces end."""

from __future__ import annotations

import httptools
import pytest

from gateway.edge.chunks import ChunkHeads, check_trailer
from gateway.errors import BadRequest

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reader:
    """A parser's callbacks, as a connection has them."""

    def __init__(self) -> None:
        self._heads = ChunkHeads()
        self._parser = httptools.HttpRequestParser(self)

    def on_chunk_header(self) -> None:
        self._heads.begin()

    def on_chunk_complete(self) -> None:
        self._heads.end()

    def on_body(self, body: bytes) -> None:
        self._heads.came(len(body))

    def read(self, piece: bytes) -> int:
        self._parser.feed_data(piece)
        return self._heads.announced(piece)


def announced(*pieces: bytes) -> list[int]:
    reader = Reader()
    return [size for size in map(reader.read, pieces) if size]


@pytest.mark.parametrize("before", [b"", b"5\r\nhe\r\nl\r\n", b"2;x=ffff\r\nab\r\n" * 3])
@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"ff", 255),
        (b"0000000fF", 255),
        (b"0" * 300 + b"10", 16),
        (b"ffffffffffffffff", 2**64 - 1),
        (b'10;name="ffff";ffff', 16),
        (b"100;" + b"f" * 200, 256),
    ],
)
@pytest.mark.parametrize("come", [b"", b"h", b"12\r\n34;\r\n\n"])
def test_it_is_told_once_wherever_the_pieces_end(
    before: bytes, head: bytes, size: int, come: bytes
) -> None:
    data = HEAD + before + head + b"\r\n" + come
    assert announced(data) == [size]
    for cut in range(len(HEAD), len(data)):
        told = announced(data[:cut], data[cut:])
        # A chunk before it may have been cut in two, and then it was told of, too.
        assert told[-1] == size
        assert told.count(size) == 1
    # Byte by byte: those before it have all come in pieces.
    assert announced(HEAD, *(data[at : at + 1] for at in range(len(HEAD), len(data))))[-1] == size


def test_a_body_that_is_complete_leaves_nothing_announced() -> None:
    assert announced(HEAD + b"5\r\nhello\r\n0\r\n\r\n") == []
    assert announced(HEAD + b"5\r\nhello\r\n", b"0\r\n", b"X: y\r\n", b"\r\n") == []
    assert announced(HEAD + b"0\r\nffff: ffff\r\n", b"ffff: x\r", b"\n\r\n") == []


@pytest.mark.parametrize("name", [b"Connection", b"PROXY-CONNECTION", b"upgrade"])
def test_trailers_do_not_say_how_the_connection_goes_on(name: bytes) -> None:
    with pytest.raises(BadRequest):
        check_trailer(name)
    check_trailer(b"X-" + name)
