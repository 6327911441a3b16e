"""Cloudflare-style Workers: ``class Default(WorkerEntrypoint)`` and ``on_fetch``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import CoroutineType, ModuleType
from typing import Any

from sandbox.protocol import FrameType, encode
from sandbox.runtime.adapter import find_in, fitting, is_async_callable, is_plain
from sandbox.runtime.context import Context, Invocation
from sandbox.runtime.env import env
from sandbox.runtime.workers.request import Request
from sandbox.runtime.workers.response import Response
from sandbox.runtime.workers.websocket import serve_socket

_EVENTS = ("scheduled", "queue", "tail", "trace", "alarm")
_Call = Callable[[Request, Invocation], Any]


class WorkerAdapter:
    """Calls the tenant's fetch handler with a Request and sends the Response it returns."""

    kind = "worker"

    def __init__(self, call: _Call, *, concurrent: bool, handlers: list[str]) -> None:
        self.concurrent = concurrent
        self.handlers = handlers
        self.scheduled: Callable[[Any, Any], Any] | None = None
        self._call = call

    @classmethod
    def for_class(cls, entrypoint: type) -> WorkerAdapter:
        """Serve with a class: one instance of it for each request."""
        takes = fitting(entrypoint, 2) if _has_init(entrypoint) else 0
        fetch = find_method(entrypoint, "fetch")
        extra = fitting(fetch, 4) - 2 if not isinstance(fetch, staticmethod) else 0
        asks_nothing = inspect.isfunction(fetch) and extra < 0

        def call(request: Request, invocation: Invocation) -> Any:
            context = Context(invocation)
            instance = entrypoint(*(context, env)[:takes])
            if asks_nothing:
                return instance.fetch()
            return instance.fetch(request, *(env, context)[: max(extra, 0)])

        handlers = ["fetch", *(name for name in _EVENTS if find_in(entrypoint, name) is not None)]
        return cls(call, concurrent=is_async(fetch), handlers=handlers)

    @classmethod
    def for_function(cls, function: Callable[..., Any], module: ModuleType) -> WorkerAdapter:
        """Serve with ``on_fetch(request[, env[, ctx]])``."""
        takes = fitting(function, 3)

        def call(request: Request, invocation: Invocation) -> Any:
            if takes == 1:
                return function(request)
            return function(*(request, env, Context(invocation))[:takes])

        handlers = ["fetch", *(name for name in _EVENTS if hasattr(module, f"on_{name}"))]
        return cls(call, concurrent=is_async(function), handlers=handlers)

    async def startup(self) -> None:
        """Nothing runs before the first request."""

    async def shutdown(self) -> None:
        """Nothing runs after the last request."""

    async def handle(self, invocation: Invocation) -> None:
        """Call the handler and send what it returns."""
        result = self._call(Request.of(invocation), invocation)
        if type(result) is CoroutineType or inspect.isawaitable(result):
            result = await result
        if not isinstance(result, Response):
            result = as_response(result)
        streaming = send(invocation, result)
        if streaming is not None:
            await streaming

    def handle_blocking(self, invocation: Invocation) -> None:
        """Call the synchronous handler and send what it returns."""
        result = self._call(Request.of(invocation), invocation)
        if inspect.isawaitable(result):
            result = invocation.server.run_until(_awaited(result))
        response = as_response(result)
        chunks = None if response.web_socket is not None else response.take_plain()
        if chunks is not None:
            _stream_blocking(invocation, response, chunks)
            return
        streaming = send(invocation, response)
        if streaming is not None:
            invocation.server.run_until(streaming)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _has_init(entrypoint: type) -> bool:
    return find_in(entrypoint, "__init__") is not object.__dict__["__init__"]


def find_method(entrypoint: type, name: str) -> Any:
    """Find a method as it was defined, unbound; one of its metaclass, when it has none itself."""
    return find_in(entrypoint, name) or inspect.getattr_static(entrypoint, name)


def is_async(function: Any) -> bool:
    """Whether calling a handler gives something to await."""
    if not is_plain(function):
        function = inspect.unwrap(getattr(function, "__func__", function))
    return is_async_callable(function)


def as_response(result: Any) -> Response:
    """Make a Response of what a handler returned. Raises TypeError when it is none."""
    if isinstance(result, Response):
        return result
    if isinstance(result, str | bytes):
        return Response(result)
    hint = " Did it forget to return?" if result is None else ""
    if isinstance(result, dict | list):
        hint = " Use Response.json(...)."
    raise TypeError(
        f"the fetch handler returned {type(result).__name__}, expected a Response, str or bytes."
        + hint
    )


def send(invocation: Invocation, response: Response) -> Coroutine[Any, Any, None] | None:
    """Queue a response that fits into one write; of any other return what streams it."""
    if response.web_socket is not None:
        return serve_socket(invocation, response.web_socket, response.plain_headers())
    body = response.take_whole()
    head = invocation.encode_head(response.status, response.encoded_headers())
    if body is not None and invocation.response.fits(len(body)):
        invocation.response.end_with(body)
        invocation.whole = head, body
        return None
    return _stream(invocation, head, response if body is None else body)


async def _stream(invocation: Invocation, head: bytes, body: Response | bytes) -> None:
    out = invocation.response
    invocation.server.channel.send(encode(FrameType.RESPONSE, invocation.stream, head))
    if isinstance(body, bytes):
        await out.write(body, end=True)
        return
    async with contextlib.aclosing(body.take_chunks()) as chunks:
        async for chunk in chunks:
            if out.closed:
                raise asyncio.CancelledError
            await out.write(chunk)
    await out.write(b"", end=True)


def _stream_blocking(invocation: Invocation, response: Response, chunks: Iterator[bytes]) -> None:
    out = invocation.response
    head = invocation.head_frame(response.status, response.encoded_headers())
    invocation.server.channel.send(head)
    with contextlib.closing(chunks):  # type: ignore[type-var]
        for chunk in chunks:
            out.write_blocking(chunk)
            if out.closed:
                raise asyncio.CancelledError
    out.write_blocking(b"", end=True)
