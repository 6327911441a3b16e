"""Who waits in an instance that is busy: for an event, for the rest of an upload."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.node import live_node
from tests.support.raw import wire

WORKER = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/events":
        await send(start)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
    if scope["path"] == "/":
        sum(range(20_000))
    while (await receive()).get("more_body"):
        pass
    if scope["path"] != "/events":
        await send(start)
    await send({"type": "http.response.body", "body": b"last"})
"""
OTHERS = 300
"""Requests of others, which together use many times the CPU time of one."""


@pytest.fixture
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with live_node(tmp_path_factory.mktemp("waiting")) as node:
        node.deploy("room", WORKER)
        yield node.started.tenant_port


def head(method: str, path: str, length: int) -> bytes:
    line = f"{method} {path} HTTP/1.1\r\nHost: room.localhost\r\nContent-Length: {length}\r\n\r\n"
    return line.encode()


def test_who_waits_does_not_pay_for_those_that_come_and_go(port: int) -> None:
    with wire(port) as events, wire(port) as upload, wire(port) as others:
        events.send(head("POST", "/events", 2) + b"a")
        upload.send(head("POST", "/upload", 2) + b"a")
        for _ in range(OTHERS):
            others.send(head("GET", "/", 0))
            assert others.answer().body == b"last"
        events.send(b"b")
        upload.send(b"b")
        assert upload.answer().body == b"last"
        assert events.answer().body == b"firstlast"
