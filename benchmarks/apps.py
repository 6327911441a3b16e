"""The peers' applications: a bare ASGI hello, and the naive proxy people write first."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.streams import app as streams

__all__ = ["hello", "named", "proxy", "streams"]

_HEADERS = [(b"content-type", b"text/plain;charset=utf-8"), (b"content-length", b"5")]


async def hello(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The smallest ASGI application."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"hello"})


async def named(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The same, which says the first label of the hostname that it was asked under."""
    if scope["type"] == "http":
        body = b"this is " + dict(scope["headers"])[b"host"].partition(b".")[0]
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=os.environ.get("UPSTREAM", "")) as client:
        yield {"client": client}


async def _forward(request: Request) -> Response:
    answer = await request.state.client.request(
        request.method, request.url.path, headers={"host": "upstream"}
    )
    return Response(answer.content, answer.status_code)


proxy = Starlette(routes=[Route("/{path:path}", _forward)], lifespan=_lifespan)
