"""Whatever a client sends, and however it is cut: it is answered the same, wherever it belongs."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator

import pytest

from gateway.edge.moving import MovableConnection
from tests.support.places import PLACES, Places, places
from tests.support.raw import Wire, wire

STREAMS = 60
HEADS = (
    b"GET / HTTP/1.1\r\n%b\r\n",
    b"HEAD / HTTP/1.1\r\n%b\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n%b\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\n%b\r\n",
    b"OPTIONS * HTTP/1.1\r\n%b\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n%b\r\n",
)
SIZED = (
    b"POST / HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n",
    b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n%bContent-Length: %d\r\n\r\n",
    b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n%bContent-Length: %d\r\n\r\n",
)
CHUNKED = b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNKS = (b"0\r\n\r\n", b"000;x\r\nX-Trailer: 1\r\n\r\n")
WRONG = (
    b"POST / HTTP/1.1\r\n%bContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\n%bContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\n%b\n",
    b"GET / HTTP/1.1\r\n%bX: a\r\n b\r\n\r\n",
    b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\n%b\r\n",
    b"GET / HTTP/1.1\r\nConnection: close\r\n%b\r\n",
)


def request(chance: random.Random, host: bytes) -> bytes:
    body = chance.randbytes(chance.choice([0, 1, 5, 300, 5000])).replace(b"0", b"\r\n\r\n")
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(WRONG) % host
    if kind < 0.4:
        return chance.choice(SIZED) % (host, len(body)) + body
    if kind < 0.7:
        framed = b"%x;x=1\r\n%b\r\n" % (len(body), body) if body else b""
        return CHUNKED % host + framed + chance.choice(LAST_CHUNKS)
    return chance.choice(HEADS) % host


def stream(seed: int, places_asked: int) -> bytes:
    """The same requests for each seed, for hosts of so many places."""
    chance, where = random.Random(seed), random.Random(seed)  # noqa: S311
    hosts = [b"Host: %d.test\r\n" % where.randrange(places_asked) for _ in range(9)]
    found = [request(chance, host) for host in hosts[: chance.randrange(1, 9)]]
    return b"".join(found) + b"GET / HTTP/1.1\r\nConnection: close\r\n%b\r\n" % hosts[-1]


def answers(node: Places, seed: int, places_asked: int) -> bytes:
    """All that comes back, without what tells the places and the clients apart."""
    with wire(node.ports[0]) as connection:
        sender = threading.Thread(
            target=send,
            args=(connection, stream(seed, places_asked), random.Random(seed)),  # noqa: S311
        )
        sender.start()
        said = connection.rest()
        sender.join()
    return re.sub(rb'(?m)^(?:date|content-length): .*\n|"client": \[.*?\]|"by": \d', b"", said)


def send(connection: Wire, data: bytes, chance: random.Random) -> None:
    at = 0
    while at < len(data):
        size = chance.choice([1, 3, 40, 700, 10_000])
        connection.send(data[at : at + size])
        at += size


@pytest.fixture(scope="module")
def node() -> Iterator[Places]:
    with places(MovableConnection) as running:
        yield running


def test_answers_are_the_same_wherever_requests_belong(node: Places) -> None:
    for seed in range(STREAMS):
        assert answers(node, seed, PLACES) == answers(node, seed, 1), seed
    assert node.moves > STREAMS // 2
    assert node.errands > 0
