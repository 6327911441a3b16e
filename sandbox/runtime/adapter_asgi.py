"""ASGI 3 applications: FastAPI, Starlette and their like. Lifespan runs once per process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from sandbox.payloads import RequestHead
from sandbox.runtime.asgi_socket import SocketExchange, socket_scope
from sandbox.runtime.context import Invocation
from sandbox.runtime.env import env
from sandbox.runtime.headers import check_status, encode_pairs
from sandbox.runtime.sockets import SocketWire

Message = MutableMapping[str, Any]
_VERSIONS = {"version": "3.0", "spec_version": "2.3"}


class LifespanFailed(Exception):
    """The application said that it could not start."""


class AsgiAdapter:
    """Calls an ASGI application for each request."""

    kind = "asgi"
    concurrent = True

    def __init__(self, app: Callable[..., Any]) -> None:
        self.handlers = ["fetch"]
        self.scheduled: Callable[[Any, Any], Any] | None = None
        self._app = app
        self.state: dict[str, Any] = {}
        """What the lifespan left for the requests."""
        self._lifespan = _Lifespan(app, self.state)

    async def startup(self) -> None:
        """Run the lifespan's startup. Raises what the application raised."""
        await self._lifespan.startup()

    async def shutdown(self) -> None:
        """Run the lifespan's shutdown."""
        await self._lifespan.shutdown()

    def handle_blocking(self, invocation: Invocation) -> None:
        """Serve one invocation by running the loop."""
        invocation.server.run_until(self.handle(invocation))

    async def handle(self, invocation: Invocation) -> None:
        """Serve one invocation."""
        if invocation.socket is not None:
            await self._handle_socket(invocation, invocation.socket)
            return
        exchange = _Exchange(invocation)
        await self._app(make_scope(invocation.head, self.state), exchange.receive, exchange.send)
        if not invocation.response.ended and not invocation.cancelled:
            what = "within" if invocation.head_sent else "without"
            raise RuntimeError(f"the ASGI application returned {what} a response")

    async def _handle_socket(self, invocation: Invocation, wire: SocketWire) -> None:
        exchange = SocketExchange(invocation, wire)
        scope = socket_scope(make_scope(invocation.head, self.state))
        await self._app(scope, exchange.receive, exchange.send)
        await exchange.finish()


def make_scope(head: RequestHead, state: dict[str, Any]) -> dict[str, Any]:
    """Build the connection scope of a request."""
    raw_path = head.path
    if head.mount and raw_path == head.mount.encode("latin-1", "replace"):
        raw_path += b"/"
    path = raw_path.decode("latin-1")
    host, _, port = head.authority.rpartition(":")
    if not port.isdigit():
        host, port = head.authority, "443" if head.scheme == "https" else "80"
    return {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": "1.1",
        "method": head.method,
        "scheme": head.scheme,
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": head.query,
        "root_path": head.mount,
        "headers": head.headers,
        "client": head.client,
        "server": (host, int(port)),
        "state": state.copy(),
        "extensions": {},
        "env": env,
    }


class _Exchange:
    """The receive and send of one request."""

    __slots__ = ("_head", "_invocation", "_received")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._head: bytes | None = None
        self._received = False

    async def receive(self) -> Message:
        invocation = self._invocation
        body = invocation.body
        if not self._received and not invocation.cancelled:
            try:
                chunk = await body.read_chunk()
            except OSError:
                return {"type": "http.disconnect"}
            self._received = body.finished
            return {"type": "http.request", "body": chunk, "more_body": not body.finished}
        if not invocation.response.ended:
            await invocation.disconnected()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.body":
            await self._body(message)
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _start(self, message: Message) -> None:
        if self._head is not None or self._invocation.head_sent:
            raise RuntimeError("http.response.start was sent twice")
        headers = encode_pairs(message.get("headers", ()))
        self._head = self._invocation.head_frame(check_status(message["status"]), headers)

    async def _body(self, message: Message) -> None:
        invocation = self._invocation
        out = invocation.response
        if self._head is None:
            raise RuntimeError("http.response.body was sent before http.response.start")
        data = message.get("body", b"")
        if not isinstance(data, bytes):
            data = bytes(data)
        end = not message.get("more_body", False)
        if out.closed:
            return
        if out.ended:
            raise RuntimeError("http.response.body was sent after the end of the response")
        head, self._head = self._head, b""
        if end and out.fits(len(data)):
            invocation.server.channel.send(head + out.frame(data))
            return
        if head:
            invocation.server.channel.send(head)
        await out.write(data, end=end)


class _Lifespan:
    """The one lifespan call of a process."""

    def __init__(self, app: Callable[..., Any], state: dict[str, Any]) -> None:
        self._app = app
        self._scope = {"type": "lifespan", "asgi": _VERSIONS, "state": state, "env": env}
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def startup(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._call())
        self._inbox.put_nowait({"type": "lifespan.startup"})
        answer = await self._outbox.get()
        if answer is None:
            # It raised or returned: applications without lifespan support do.
            if self._error is not None and not isinstance(self._error, Exception):
                raise self._error
            self._task = None
        elif answer.get("type") == "lifespan.startup.failed":
            await self._outbox.get()
            if isinstance(self._error, Exception):
                raise self._error
            raise LifespanFailed(str(answer.get("message") or "lifespan startup failed"))

    async def shutdown(self) -> None:
        if self._task is None or self._task.done():
            return
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        await self._outbox.get()

    async def _call(self) -> None:
        try:
            await self._app(self._scope, self._inbox.get, self._outbox.put)
        except BaseException as error:
            self._error = error
        finally:
            self._outbox.put_nowait(None)
