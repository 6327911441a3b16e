"""Connections that another process goes on with: nothing is lost, doubled or out of order."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from gateway.edge.forwarded import TrustedProxies
from gateway.edge.moving import MovableConnection, ProxiedMovableConnection
from gateway.processes.mailbox import MAX_INLINE
from tests.support.places import LARGE, PLACES, Places, places
from tests.support.raw import Wire, ask, wire


@pytest.fixture(scope="module")
def node() -> Iterator[Places]:
    with places(MovableConnection) as running:
        yield running


@pytest.fixture(scope="module")
def behind() -> Iterator[Places]:
    trusted = TrustedProxies(("127.0.0.1",))
    with places(partial(ProxiedMovableConnection, proxies=trusted)) as running:
        yield running


def get(host: int, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}.test\r\n\r\n".encode()


def served(connection: Wire, by: int, target: str = "/") -> dict[str, Any]:
    answer = connection.answer()
    assert answer.status == 200, answer.body
    said: dict[str, Any] = answer.json
    assert (said["by"], said["target"]) == (by, target)
    return said


def test_a_kept_connection_goes_where_each_request_belongs(node: Places) -> None:
    with wire(node.ports[0]) as connection:
        own = list(connection.socket.getsockname())
        for turn, host in enumerate([0, 1, 1, 2, 0, 2, 1, 0]):
            connection.send(get(host, f"/{turn}"))
            assert served(connection, host, f"/{turn}")["client"] == own


def test_pipelined_requests_are_answered_in_order_wherever_they_belong(node: Places) -> None:
    hosts = [random.Random(7).randrange(PLACES) for _ in range(40)]  # noqa: S311
    with wire(node.ports[0]) as connection:
        connection.send(b"".join(get(host, f"/{turn}") for turn, host in enumerate(hosts)))
        for turn, host in enumerate(hosts):
            served(connection, host, f"/{turn}")


@pytest.mark.parametrize("seed", range(6))
def test_requests_with_bodies_come_in_any_pieces(node: Places, seed: int) -> None:
    """Bytes are cut at random; what is written and how it is framed, too."""
    chance = random.Random(seed)  # noqa: S311
    stream, expected = b"", []
    for turn in range(12):
        host, body = chance.randrange(PLACES), chance.randbytes(chance.choice([0, 3, 900, 70_000]))
        body = body.replace(b"a", b"\r\n\r\n")
        chunked = chance.random() < 0.4
        head = f"POST /{turn} HTTP/1.1\r\nHost: {host}.test\r\n"
        if chunked:
            cut = chance.randrange(len(body) + 1)
            pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
            head += "Transfer-Encoding: chunked\r\n\r\n"
            framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            stream += head.encode() + framed + b"0\r\n\r\n"
        else:
            stream += f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        expected.append((host, f"/{turn}", len(body), hashlib.sha256(body).hexdigest()))
    with wire(node.ports[0]) as connection:
        sender = threading.Thread(target=_send_in_pieces, args=(connection, stream, chance))
        sender.start()
        for host, target, size, digest in expected:
            said = served(connection, host, target)
            assert (said["size"], said["digest"]) == (size, digest)
        sender.join()


def _send_in_pieces(connection: Wire, stream: bytes, chance: random.Random) -> None:
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    at = 0
    while at < len(stream):
        size = chance.choice([1, 2, 50, 5000, 200_000])
        connection.send(stream[at : at + size])
        at += size


def test_a_body_that_waits_for_its_call_is_called_for_where_it_belongs(node: Places) -> None:
    head = b"POST / HTTP/1.1\r\nHost: 1.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with wire(node.ports[0]) as connection:
        connection.send(head)
        assert connection.socket.recv(len(b"HTTP/1.1 100")) == b"HTTP/1.1 100"
        while not connection.socket.recv(1) == b"\n":
            pass
        assert connection.socket.recv(2) == b"\r\n"
        connection.send(b"hello")
        assert served(connection, 1)["size"] == 5


def test_much_that_was_read_ahead_goes_along(node: Places) -> None:
    before = node.moves
    body = b"x" * (10 * MAX_INLINE)
    head = f"POST / HTTP/1.1\r\nHost: 2.test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with wire(node.ports[0]) as connection:
        connection.send(head + body)
        assert served(connection, 2)["size"] == len(body)
    assert node.moves == before + 1


def test_a_websocket_opens_where_it_belongs(node: Places) -> None:
    asked = (
        b"GET / HTTP/1.1\r\nHost: 1.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with wire(node.ports[0]) as connection:
        connection.send(asked)
        expected = b"HTTP/1.1 101 by 1\r\n\r\n"
        assert connection.socket.recv(len(expected), socket.MSG_WAITALL) == expected


def test_who_says_no_more_is_still_answered(node: Places) -> None:
    with wire(node.ports[0]) as connection:
        connection.send(get(1))
        connection.socket.shutdown(socket.SHUT_WR)
        served(connection, 1)
        assert connection.ended()


@pytest.mark.parametrize("garbage", [b"\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"X" * 70_000])
def test_what_is_no_request_is_refused_after_one_that_moved(node: Places, garbage: bytes) -> None:
    with wire(node.ports[0]) as connection:
        connection.send(get(2) + garbage)
        served(connection, 2)
        assert connection.answer().status in (400, 414, 431)
        assert connection.ended()


def test_what_a_client_is_slow_to_read_is_all_sent_before_its_connection_moves(
    node: Places,
) -> None:
    before = node.moves
    with wire(node.ports[0]) as connection:
        connection.send(get(0, "/large") + get(1) + get(0, "/large") + get(2))
        for host in (1, 2):
            assert connection.answer().body == bytes(LARGE)
            served(connection, host)
    assert node.moves > before


def test_who_leaves_in_between_harms_nobody(node: Places) -> None:
    for _ in range(20):
        with wire(node.ports[0]) as connection:
            connection.send(get(1) + get(2))
            connection.reset_on_close()
    assert ask(node.ports[0], get(1)).status == 200


def test_a_request_whose_start_is_not_known_is_served_without_its_connection(node: Places) -> None:
    """It begins in the middle of a piece that ends a chunked body."""
    before = node.errands
    first = b"POST / HTTP/1.1\r\nHost: 0.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    with wire(node.ports[0]) as connection:
        connection.send(first)
        connection.send(b"5\r\nhello\r\n0\r\n\r\n" + get(1, "/next"))
        assert served(connection, 0)["size"] == 5
        served(connection, 1, "/next")
        connection.send(get(2, "/last"))
        served(connection, 2, "/last")
    assert node.errands in (before, before + 1)
    told = [how for place in node.all for how in place.how]
    assert (told.count("errand"), told.count("connection")) == (node.errands, node.moves)


def test_what_a_proxy_said_goes_along(behind: Places) -> None:
    with wire(behind.ports[0]) as connection:
        connection.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n" + get(0))
        for host in (0, 1, 2, 0):
            said = served(connection, host)
            assert (said["client"], said["scheme"]) == (["192.0.2.7", 4711], "https")
            assert not said["itself"]
            connection.send(get((host + 1) % PLACES))
    unknown = struct.pack("!12sBBH", b"\r\n\r\n\0\r\nQUIT\n", 0x20, 0, 0)
    with wire(behind.ports[0]) as connection:
        for host in (1, 2):
            connection.send((unknown if host == 1 else b"") + get(host))
            said = served(connection, host)
            assert said["itself"]
            assert said["client"] == list(connection.socket.getsockname())


def test_a_header_is_not_looked_for_again(behind: Places) -> None:
    """A client that a proxy named must not name another itself."""
    with wire(behind.ports[0]) as connection:
        connection.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + get(1))
        served(connection, 1)
        connection.send(b"PROXY TCP4 192.0.2.8 192.0.2.1 4711 443\r\n" + get(1))
        assert connection.answer().status == 400


def test_requests_that_nobody_wants_are_not_passed_on_for_ever() -> None:
    with places(MovableConnection) as running:
        for place in running.all:
            # Each says that it is the next one's.
            place.number += 10
        asked = b"GET / HTTP/1.1\r\nHost: 1.test\r\n\r\n"
        assert ask(running.ports[0], asked).status == 503
        assert running.moves < 10
