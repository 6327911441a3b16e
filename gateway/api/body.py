"""Request bodies: capped, and read by what the path takes, whatever the content type says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from gateway.api.errors import BadBody, BodyTooLong

T = TypeVar("T")

MAX_JSON: Final = 1 << 20
"""Longest JSON body, bytes."""


async def read_capped(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises BodyTooLong as soon as it is longer than ``limit`` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > limit):
        raise _too_long(limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_long(limit)
        if chunk:
            yield chunk


async def read_json(request: Request, kind: type[T], *, optional: bool = False) -> T:
    """The body as JSON of the expected shape. ``optional``: an empty body is an empty object."""
    body = b"".join([chunk async for chunk in read_capped(request, MAX_JSON)])
    if optional and not body.strip():
        body = b"{}"
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(f"the body cannot be read: {error}", fix="send a JSON object") from None


async def read_lines(request: Request, limit: int, longest: int) -> AsyncIterator[bytes]:
    """The lines of the body as they come; a line is cut off just above ``longest`` bytes."""
    rest = b""
    async for chunk in read_capped(request, limit):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        rest = rest[: longest + 1]
    if rest:
        yield rest


def _too_long(limit: int) -> BodyTooLong:
    return BodyTooLong(f"the body is longer than {limit} bytes", fix="send less")
