"""Bodies cost a tenant's CPU budget no more than its own code does."""

from __future__ import annotations

import pytest

from tests.support.node import LiveNode
from tests.support.raw import wire

MIB = 1 << 20
SIZE = 64 * MIB
APP = """
BLOCK = bytes(1 << 18)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(256 if scope["path"] == "/down" else 0):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    if scope["path"] == "/burn":
        for _ in range(16):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        while True:
            pass
    await send({"type": "http.response.body", "body": b"%d" % size})
"""


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    node.deploy("bodies", APP)
    return node.started.tenant_port


def test_a_large_download_fits_the_smallest_plan(node: LiveNode, port: int) -> None:
    with node.tail("bodies") as tail, wire(port) as connection:
        connection.send(b"GET /down HTTP/1.1\r\nHost: bodies.localhost\r\n\r\n")
        assert len(connection.answer().body) == SIZE + 1
        (event,) = tail.wait()
    assert event["outcome"] == "ok"


def test_uploads_as_large_as_the_plan_takes_them(node: LiveNode, port: int) -> None:
    body = bytes(10 * MIB)
    head = f"POST / HTTP/1.1\r\nHost: bodies.localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with wire(port) as connection:
        for _ in range(5):
            connection.send(head.encode() + body)
            assert connection.answer().body == b"%d" % len(body)


def test_what_was_granted_for_bytes_does_not_last(node: LiveNode, port: int) -> None:
    cpu_ms = []
    for _ in range(3):  # the least of a few: a machine that stands still lets it burn on
        with node.tail("bodies") as tail, wire(port) as connection:
            connection.send(b"GET /burn HTTP/1.1\r\nHost: bodies.localhost\r\n\r\n")
            connection.rest()
            (event,) = tail.wait()
        assert event["outcome"] == "exceededCpu"
        cpu_ms.append(event["cpuTime"])
    assert min(cpu_ms) < 80
