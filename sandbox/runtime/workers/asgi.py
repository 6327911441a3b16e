"""``workers.asgi``: an ASGI application behind a Worker's own fetch handler."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from sandbox.payloads import HeaderList
from sandbox.runtime.adapter_asgi import AsgiAdapter, Message, make_scope
from sandbox.runtime.asgi_socket import SocketExchange, socket_scope
from sandbox.runtime.context import require_current
from sandbox.runtime.headers import encode_pairs

from .request import Request
from .response import Response
from .websocket import WebSocket

_started: dict[int, tuple[AsgiAdapter, asyncio.Task[None]]] = {}
"""Lifespans by application: each is started once in a process."""


async def fetch(app: Callable[..., Any], req: Request, env: Any, ctx: Any = None) -> Response:
    """Serve a request with an ASGI application; the response streams."""
    invocation = require_current("asgi.fetch()")
    if invocation.socket is not None and req.headers.get("upgrade") == "websocket":
        return await websocket(app, req, env)
    adapter = await _start(app)
    exchange = _Exchange(req)
    scope = make_scope(req.wire_head(), adapter.state)
    scope["env"] = env
    task = asyncio.get_running_loop().create_task(exchange.run(app, scope))
    try:
        status, headers = await exchange.head
    except asyncio.CancelledError:
        task.cancel()
        raise
    require_current("asgi.fetch()").wait_until(task)
    return Response(exchange.chunks(), status, headers=headers)


async def websocket(app: Callable[..., Any], req: Request, env: Any = None) -> Response:
    """Serve the request's WebSocket with an ASGI application."""
    invocation = require_current("asgi.websocket()")
    if invocation.socket is None:
        return Response("Expected Upgrade: websocket", 426)
    adapter = await _start(app)
    exchange = SocketExchange(invocation, invocation.socket)
    scope = socket_scope(make_scope(req.wire_head(), adapter.state))
    scope["env"] = env

    async def serve() -> None:
        await app(scope, exchange.receive, exchange.send)
        await exchange.finish()

    return Response(None, web_socket=WebSocket.served_by(serve))


async def _start(app: Callable[..., Any]) -> AsgiAdapter:
    known = _started.get(id(app))
    if known is None:
        adapter = AsgiAdapter(app)
        task = asyncio.get_running_loop().create_task(adapter.startup())
        known = _started[id(app)] = (adapter, task)
    await asyncio.shield(known[1])
    return known[0]


class _Exchange:
    """The receive and send of one request, between a Request and a Response."""

    def __init__(self, request: Request) -> None:
        self.head: asyncio.Future[tuple[int, HeaderList]]
        self.head = asyncio.get_running_loop().create_future()
        self._body = request.take_chunks()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._received = False
        self._ended = asyncio.Event()

    async def run(self, app: Callable[..., Any], scope: dict[str, Any]) -> None:
        try:
            await app(scope, self.receive, self.send)
            if not self.head.done():
                raise RuntimeError("the ASGI application returned without a response")
        except Exception as error:
            if self.head.done():
                raise
            self.head.set_exception(error)
        finally:
            self._ended.set()
            if not self._queue.full():
                self._queue.put_nowait(None)

    async def receive(self) -> Message:
        if not self._received:
            try:
                return {"type": "http.request", "body": await anext(self._body), "more_body": True}
            except StopAsyncIteration:
                self._received = True
                return {"type": "http.request", "body": b"", "more_body": False}
        await self._ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = encode_pairs(message.get("headers", ()))
            self.head.set_result((message["status"], headers))
        elif message["type"] == "http.response.body":
            if data := message.get("body", b""):
                await self._queue.put(data)
            if not message.get("more_body", False):
                self._ended.set()
                await self._queue.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            if self._ended.is_set() and self._queue.empty():
                return
            chunk = await self._queue.get()
            if chunk is None:
                return
            yield chunk


def __getattr__(name: str) -> Any:
    """Make ``env``, a FastAPI dependency that gives a route the bindings, when it is asked for."""
    if name != "env":
        raise AttributeError(name)
    fastapi = importlib.import_module("fastapi")

    def bindings(request: Any) -> Any:
        return request.scope["env"]

    bindings.__annotations__ = {"request": fastapi.Request}
    return fastapi.Depends(bindings)
