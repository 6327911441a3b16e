"""Server-sent events: each reaches the client before the next one is made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.node import LiveNode
from tests.support.raw import wire

ASGI = """
import asyncio, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for n in range(2):
        event = b"data: %.6f\\n\\n" % time.time()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b""})
"""
WORKER = """
import asyncio, time
from workers import Response

async def events():
    for n in range(2):
        yield b"data: %.6f\\n\\n" % time.time()
        await asyncio.sleep(1)

async def on_fetch(request):
    return Response(events(), headers={"content-type": "text/event-stream"})
"""
WSGI = """
import time

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for n in range(2):
        yield b"data: %.6f\\n\\n" % time.time()
        time.sleep(1)
"""


def arrivals(port: int, name: str) -> list[tuple[float, float]]:
    """When each event was made and when it came."""
    found: list[tuple[float, float]] = []
    data = b""
    with wire(port) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: %s.localhost\r\n\r\n" % name.encode())
        while len(found) < 2:
            piece = connection.socket.recv(1000)
            assert piece, data
            *events, data = (data + piece).split(b"\n\n")
            now = time.time()
            found += [(float(event.partition(b"data: ")[2]), now) for event in events]
    return found


def test_every_kind_of_worker_sends_events_at_once(node: LiveNode) -> None:
    sources = {"sse-asgi": ASGI, "sse-worker": WORKER, "sse-wsgi": WSGI}
    for name, source in sources.items():
        node.deploy(name, source)
    with ThreadPoolExecutor() as threads:
        ports = [node.started.tenant_port] * len(sources)
        came = dict(zip(sources, threads.map(arrivals, ports, sources), strict=True))
    for name, ((_, first_came), (second_made, _)) in came.items():
        assert first_came < second_made, name
