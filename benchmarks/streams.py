"""An ASGI application that streams, the same for a bare server and, as a script, for a node.

``/down?BYTES`` sends, ``/up`` counts what it is sent, ``/sip`` counts slowly, and the time is what
``/events?COUNT`` tells.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]

PIECE = bytes(64 * 1024)
EVENT_SECONDS = 0.01
SIP_SECONDS = 0.001


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
) -> None:
    """Stream what the path asks for."""
    if scope["type"] != "http":
        return
    number = int(scope["query_string"] or b"0")
    if scope["path"] == "/down":
        await _start(send, number)
        for left in range(number, 0, -len(PIECE)):
            await send({"type": "http.response.body", "body": PIECE[:left], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif scope["path"] == "/events":
        await _start(send, None)
        for _ in range(number):
            await asyncio.sleep(EVENT_SECONDS)
            event = b"data: %.6f\n\n" % time.time()
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if scope["path"] == "/sip":
                await asyncio.sleep(SIP_SECONDS)
        body = b"%d" % size
        await _start(send, len(body))
        await send({"type": "http.response.body", "body": body})


async def _start(send: Send, length: int | None) -> None:
    headers = [(b"content-type", b"text/event-stream" if length is None else b"text/plain")]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
