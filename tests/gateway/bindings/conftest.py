"""Real servers on loopback for subrequests to reach."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Origin:
    """An ASGI app whose answers are chosen by path, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.replies: dict[str, tuple[int, list[tuple[bytes, bytes]], list[bytes]]] = {}

    def reply(self, path: str, status: int, *fields: tuple[str, str], body: bytes = b"") -> None:
        """Answer this path so from now on."""
        headers = [(name.encode(), value.encode()) for name, value in fields]
        self.replies[path] = (status, headers, [body])

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.seen.append((scope["method"], scope["path"], headers, body))
        status, fields, chunks = self.replies.get(
            scope["path"], (200, [(b"content-type", b"text/plain")], [b"hello ", body])
        )
        await send({"type": "http.response.start", "status": status, "headers": fields})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def origin(anyio_backend: str) -> AsyncIterator[Origin]:
    """A uvicorn of its own on a free port; connections queue until it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = Origin(listener.getsockname()[1])
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        yield app
        server.should_exit = True


class RawOrigin:
    """A TCP server that says exactly these bytes to everyone."""

    def __init__(self) -> None:
        self.answer = b""
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        """Read something, answer, hang up."""
        async with stream:
            await stream.receive()
            await stream.send(self.answer)


@pytest.fixture
async def raw(anyio_backend: str) -> AsyncIterator[RawOrigin]:
    """A RawOrigin that runs."""
    server = RawOrigin()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        server.port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, server.handle)
            yield server
            tasks.cancel_scope.cancel()
