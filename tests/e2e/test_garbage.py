"""A request that is over is gone: nothing of it waits for the garbage collector."""

from __future__ import annotations

import gc
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.node import LiveNode

REQUESTS = 200
WORKER = """
import gc
from workers import Response, WorkerEntrypoint
gc.disable()
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await request.text()
        return Response(str(gc.collect()) if request.url.endswith("/count") else "hello")
"""
BLOCKING = """
import gc
from workers import Response
gc.disable()
def on_fetch(request):
    return Response(str(gc.collect()) if request.url.endswith("/count") else "hello")
"""
ASGI = """
import gc
gc.disable()
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    body = b"%d" % gc.collect() if scope["path"] == "/count" else b"hello"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
WSGI = """
import gc
gc.disable()
def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"%d" % gc.collect() if environ["PATH_INFO"] == "/count" else b"hello"]
"""
KINDS = {"worker": WORKER, "blocking": BLOCKING, "asgi": ASGI, "wsgi": WSGI}


class Visitor:
    """One kept connection."""

    def __init__(self, connection: http.client.HTTPConnection, script: str) -> None:
        self._connection = connection
        self._script = script

    def ask(self, path: str = "/", body: bytes | None = None) -> str:
        method = "GET" if body is None else "POST"
        headers = {"Host": f"{self._script}.localhost"}
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        return text


@contextmanager
def visitor(node: LiveNode, script: str) -> Iterator[Visitor]:
    connection = http.client.HTTPConnection(urlsplit(node.url).netloc, timeout=30)
    try:
        yield Visitor(connection, script)
    finally:
        connection.close()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_an_instance_is_left_no_circles(node: LiveNode, kind: str) -> None:
    node.deploy(f"garbage-{kind}", KINDS[kind], plan="enterprise")
    with visitor(node, f"garbage-{kind}") as client:
        client.ask("/count")
        for _ in range(REQUESTS):
            client.ask(body=b"x")
        assert int(client.ask("/count")) < REQUESTS


@pytest.mark.parametrize("body", [None, b"x"], ids=["express", "with-body"])
def test_the_gateway_is_left_no_circles(
    node: LiveNode, no_collector: None, body: bytes | None
) -> None:
    node.deploy("garbage-worker", WORKER, plan="enterprise")
    with visitor(node, "garbage-worker") as client:
        client.ask(body=body)
        gc.collect()
        for _ in range(REQUESTS):
            client.ask(body=body)
        assert gc.collect() < REQUESTS
