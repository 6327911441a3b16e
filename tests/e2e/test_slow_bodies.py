"""Clients that send bodies drop by drop: what they keep from others, and what they get."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.node import LiveNode
from tests.support.raw import Wire, ask, wire

BLOCKING = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % len(body)]
"""
ASYNC = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size, more = 0, True
    if scope["path"] == "/talk":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
        if scope["path"] == "/talk" and message["body"]:
            part = {"type": "http.response.body", "body": message["body"], "more_body": True}
            await send(part)
    if scope["path"] != "/talk":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"" if scope["path"] == "/talk" else b"%d" % size
    await send({"type": "http.response.body", "body": body})
"""
KINDS = {"blocking": BLOCKING, "async": ASYNC}
MANY = 24
"""More than the plan lets a tenant have in flight."""


def head(name: str, *fields: str, path: str = "/") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {name}.localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


@contextmanager
def dripping(port: int, name: str, count: int = MANY) -> Iterator[list[Wire]]:
    """Clients who were asked for their bodies, and have sent a byte."""
    with ExitStack() as stack:
        slow = [stack.enter_context(wire(port)) for _ in range(count)]
        for connection in slow:
            connection.send(head(name, "Content-Length: 5", "Expect: 100-continue"))
        for connection in slow:
            assert connection.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(b"h")
        yield slow


@pytest.fixture(scope="module", params=KINDS)
def name(request: pytest.FixtureRequest, node: LiveNode) -> str:
    """A script of a tenant's on the smallest plan."""
    script = f"slow{request.param}"
    node.deploy(script, KINDS[request.param], plan="free")
    return script


def test_who_has_sent_all_does_not_wait_for_who_drips(node: LiveNode, name: str) -> None:
    port = node.started.tenant_port
    with dripping(port, name) as slow:
        assert ask(port, head(name, "Content-Length: 0")).status == 200
        assert ask(port, head(name, "Content-Length: 5") + b"hello").body == b"5"
        large = head(name, "Content-Length: 300000") + bytes(300_000)
        assert ask(port, large).body == b"300000"
        # They are served, too, as soon as they have sent theirs.
        for connection in slow:
            connection.send(b"ello")
            assert connection.answer().body == b"5"


def test_who_drips_and_leaves_or_sends_nonsense_keeps_nothing(node: LiveNode, name: str) -> None:
    port = node.started.tenant_port
    chunked = head(name, "Transfer-Encoding: chunked")
    with dripping(port, name) as slow, ExitStack() as stack:
        gone = stack.enter_context(wire(port))
        gone.send(chunked + b"5\r\nhe")
        gone.reset_on_close()
        gone.close()
        broken = ask(port, chunked + b"5\r\nhello\r\nnonsense\r\n")
        assert (broken.status, broken.code) == (400, "bad_request")
        endless = ask(port, chunked + b"5\r\nhello\r\nffffffff\r\n")
        assert (endless.status, endless.code) == (413, "body_too_large")
        for connection in slow:
            connection.reset_on_close()
    with dripping(port, name) as slow:
        for connection in slow:
            connection.send(b"ello")
            assert connection.answer().body == b"5"


def test_a_few_may_talk_while_they_send(node: LiveNode) -> None:
    node.deploy("talking", ASYNC, plan="free")
    address = ("127.0.0.1", node.started.tenant_port)
    for _ in range(3):
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            connection.putrequest("POST", "/talk", skip_host=True)
            connection.putheader("Host", "talking.localhost")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(b"3\r\none\r\n")
            answer = connection.getresponse()
            assert answer.read(3) == b"one"
            connection.send(b"3\r\ntwo\r\n0\r\n\r\n")
            assert answer.read() == b"two"
        finally:
            connection.close()
