"""``fetch``: a request to the outside, made by the gateway on the invocation's account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

from sandbox.runtime.context import require_current
from sandbox.runtime.subrequest import FetchError, SubrequestLimitExceeded

from .request import Request
from .response import FetchResponse

__all__ = ["FetchError", "SubrequestLimitExceeded", "fetch"]


async def fetch(resource: str | Request, **init: Any) -> FetchResponse:
    """Send a request and return the answer as soon as its head is there.

    Takes ``method``, ``headers``, ``body`` and ``redirect``. Raises FetchError when there is no
    answer, SubrequestLimitExceeded when the plan allows no more.
    """
    invocation = require_current("fetch()")
    server = invocation.server
    if asyncio.get_running_loop() is not server.loop:
        raise RuntimeError(
            "fetch() needs the worker's own event loop: use run_sync(), not asyncio.run()"
        )
    request = Request(resource, **init) if init or isinstance(resource, str) else resource
    headers = request.encoded_headers()
    if any(name == b"upgrade" for name, _ in headers):
        raise FetchError("no_websockets", "fetch() opens no WebSockets: leave out Upgrade.")
    whole = request.take_whole()
    body: bytes | AsyncIterable[bytes] = request.take_chunks() if whole is None else whole
    if whole:
        # Servers that take no chunked bodies are many; S3 is one.
        headers = [pair for pair in headers if pair[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(whole)))
    target = (request._method, request.url, headers, request.redirect)
    head, answer = await server.subrequests.fetch(invocation, target, body)
    return FetchResponse(head, answer)
