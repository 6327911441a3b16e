"""Subrequests to workers of this node: they enter at the edge, without a way out and back.

No name is resolved and no connection made, so that they work where the node cannot reach its own
public address, and cost no socket. What answers is the same corridor that answers clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote_to_bytes

import httpcore
import httpx

from gateway.bindings.hops import SCOPE_KEY
from gateway.model.http import HeaderList

T = TypeVar("T")
App = Callable[[dict[str, Any], Callable[[], Any], Callable[[Any], Any]], Awaitable[None]]
_PORTS: Final = frozenset({None, 80, 443})


class OwnHostnames:
    """Takes subrequests straight to the tenants' listener's application."""

    def __init__(
        self, app: App, answers_to: Callable[[str], Awaitable[bool]], *, port: int, seconds: float
    ) -> None:
        self._app = app
        self._answers_to = answers_to
        self._port = port
        self._seconds = seconds
        self._running: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<OwnHostnames, {len(self._running)} under way>"

    async def serves(self, url: httpx.URL) -> bool:
        """Whether this URL leads to a worker of the platform's own domains."""
        if url.port not in _PORTS and url.port != self._port:
            return False
        return await self._answers_to(url.host)

    async def send(self, request: httpcore.Request, hops: int) -> httpcore.Response:
        """Perform a request. Raises what httpcore raises where a connection would fail."""
        exchange = _Exchange(request, hops, self._seconds)
        task = asyncio.create_task(exchange.run(self._app))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            status, headers = await exchange.head()
        except BaseException:
            await exchange.aclose()
            raise
        return httpcore.Response(status, headers=headers, content=exchange)

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


class _Exchange:
    """One request between its two ends: an ASGI application here, a subrequest there."""

    def __init__(self, request: httpcore.Request, hops: int, seconds: float) -> None:
        self._scope = _scope(request, hops)
        self._body = aiter(cast("AsyncIterator[bytes]", request.stream))
        self._body_over = False
        self._seconds = seconds
        self._gone = asyncio.Event()
        """Nobody reads the answer any more."""
        self._head: asyncio.Future[tuple[int, HeaderList]]
        self._head = asyncio.get_running_loop().create_future()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        """What was sent and not read yet; None at its end."""
        self._complete = False

    # The subrequest's end

    async def head(self) -> tuple[int, HeaderList]:
        """Status and fields of the answer."""
        return await self._timely(asyncio.shield(self._head))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._timely(self._chunks.get())) is not None:
            yield chunk
        if not self._complete:
            raise httpcore.RemoteProtocolError("the answer broke off")

    async def aclose(self) -> None:
        """The answer is not wanted any more, or is complete."""
        self._gone.set()
        if not self._chunks.empty():
            self._chunks.get_nowait()
        self._head.cancel()

    async def _timely(self, awaitable: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(awaitable, self._seconds)
        except TimeoutError:
            raise httpcore.ReadTimeout("no byte of the answer came in time") from None

    # The application's end

    async def run(self, app: App) -> None:
        """Serve the request."""
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            if not self._head.done():
                self._head.set_exception(httpcore.RemoteProtocolError("there was no answer"))
            if not self._gone.is_set():
                await self._chunks.put(None)

    async def _receive(self) -> dict[str, Any]:
        if self._body_over:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            chunk, self._body_over = b"", True
        except Exception:
            # The sender failed in the middle; it is told by its own end.
            self._body_over = True
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": not self._body_over}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self._head.set_result((message["status"], message["headers"]))
            return
        if body := message.get("body", b""):
            await self._chunks.put(body)
        self._complete = not message.get("more_body", False)


def _scope(request: httpcore.Request, hops: int) -> dict[str, Any]:
    path, _, query = request.url.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method.decode("ascii"),
        "scheme": request.url.scheme.decode("ascii"),
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers],
        # No client's address: nobody is to take the platform for one.
        "client": None,
        "server": None,
        SCOPE_KEY: hops,
    }
