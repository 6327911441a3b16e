"""HEAD: whatever is wrong with a request, its answer has no body (RFC 9110 §9.3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from gateway.config import Config, Http
from gateway.model.plan import Limits
from tests.support.node import LiveNode, live_node
from tests.support.raw import wire

HELLO = "from workers import Response\nasync def on_fetch(r):\n    return Response('hello')\n"
HOST = b"Host: hello.localhost\r\n"
LINE = b"HEAD / HTTP/1.1\r\n"
FLOOD = b"".join(b"X-%d: x\r\n" % number for number in range(300))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    def change(config: Config) -> Config:
        plans = {"free": Limits(cpu_ms=500, body_mb=1)}
        http = Http(head_seconds=0.5, stall_seconds=0.5)
        return msgspec.structs.replace(config, plans=plans, http=http)

    with live_node(tmp_path_factory.mktemp("head"), change) as live:
        live.deploy("hello", HELLO)
        yield live


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"HEAD /\x01 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"HEAD /path\x00 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"HEAD /two parts HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"HEAD nowhere HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"HEAD http://other.localhost/ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"HEAD http://u@hello.localhost/ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"HEAD / HTTP/2.0\r\n" + HOST + b"\r\n"),
        (400, b"HEAD / HTCPCP/1.0\r\n" + HOST + b"\r\n"),
        (400, LINE + HOST + b"Bad field: x\r\n\r\n"),
        (400, LINE + HOST + b"X: a\x00b\r\n\r\n"),
        (400, LINE + b"\r\n"),
        (400, LINE + HOST + HOST + b"\r\n"),
        (400, LINE + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, LINE + HOST + b"Content-Length: 1, 2\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n"),
        (408, LINE + HOST),
        (408, b"HEAD /unfinished"),
        (413, LINE + HOST + b"Content-Length: 2000000\r\nConnection: close\r\n\r\n"),
        (414, b"HEAD /" + b"x" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"),
        (414, b"HEAD /" + b"x" * 200_000),
        (431, LINE + HOST + FLOOD + b"Connection: close\r\n\r\n"),
        (431, LINE + HOST + b"X: " + b"x" * 200_000),
    ],
)
def test_a_refusal_of_head_has_no_body_and_its_connection_ends(
    hasty: LiveNode, status: int, request_: bytes
) -> None:
    with wire(hasty.started.tenant_port) as connection:
        connection.send(request_)
        head, end, body = connection.rest().partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert end
    assert body == b""
    fields = head.lower().split(b"\r\n")
    assert b"connection: close" in fields
    assert any(field.startswith(b"content-length: ") for field in fields)


def test_one_that_comes_after_others_is_no_different(hasty: LiveNode) -> None:
    with wire(hasty.started.tenant_port) as connection:
        connection.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\nHEAD /\x01 HTTP/1.1\r\n\r\n")
        first, second = connection.answer(), connection.answer("HEAD")
        assert connection.ended(), "a body"
    assert (first.status, first.body) == (200, b"hello")
    assert second.status == 400


def test_what_is_no_method_is_told_why_at_length(hasty: LiveNode) -> None:
    with wire(hasty.started.tenant_port) as connection:
        connection.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\nheAD / HTTP/1.1\r\n\r\n")
        first, second = connection.answer("HEAD"), connection.answer()
    assert (first.status, first.body) == (200, b"")
    assert second.status == 400
    assert second.body
