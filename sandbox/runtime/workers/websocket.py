"""WebSockets of Workers: ``WebSocketPair`` and its two ends, as Cloudflare names them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from sandbox.payloads import LOST
from sandbox.runtime.context import Invocation, current_or_none
from sandbox.runtime.sockets import Message, SocketWire

_KINDS = ("message", "close", "error", "open")
_MAX_TASKS = 64
"""Messages whose asynchronous listeners run at once; the next one waits."""


class MessageEvent:
    """A message has come."""

    type = "message"

    def __init__(self, data: Message) -> None:
        self.data = data


class CloseEvent:
    """The WebSocket is closed."""

    type = "close"

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        self.was_clean = self.wasClean = code != LOST


class WebSocket:
    """The Worker's end of a WebSocket, or the end that the response gives to the client."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3

    def __init__(self, wire: SocketWire | None, peer: WebSocket | None = None) -> None:
        self.wire = wire
        self.peer = peer
        self.serve: Callable[[], Awaitable[None]] | None = None
        self._accepted = False
        self._listeners: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in _KINDS}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._error: BaseException | None = None

    @classmethod
    def served_by(cls, serve: Callable[[], Awaitable[None]]) -> WebSocket:
        """Make the client's end of one whose handshake and messages ``serve`` answers itself."""
        client = cls(None)
        client.serve = serve
        return client

    def accept(self, _options: Any = None) -> None:
        """Begin to take messages."""
        self._bound()
        self._accepted = True
        self._bound().ring()

    def send(self, message: Message) -> None:
        """Send str or bytes; kept until the client takes it, dropped when it has gone."""
        wire = self._ready("send")
        if wire.closed is None:
            wire.put(message)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close; what was sent before still arrives."""
        self._ready("close").close(1000 if code is None else int(code), reason or "")

    def add_event_listener(self, kind: str, listener: Callable[..., Any], *_: Any) -> None:
        """Call ``listener`` with each event: ``message``, ``close`` or ``error``."""
        if kind not in _KINDS:
            raise ValueError(f"a WebSocket has no event {kind!r:.40}")
        self._listeners[kind].append(listener)
        self._bound().ring()

    def remove_event_listener(self, kind: str, listener: Callable[..., Any], *_: Any) -> None:
        """Call ``listener`` no more."""
        if listener in self._listeners.get(kind, ()):
            self._listeners[kind].remove(listener)

    addEventListener = add_event_listener  # noqa: N815 - Cloudflare's spelling
    removeEventListener = remove_event_listener  # noqa: N815 - Cloudflare's spelling

    @property
    def ready_state(self) -> int:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        wire = self.wire
        if wire is None or not wire.opened:
            return self.CONNECTING
        if wire.closed is not None:
            return self.CLOSED
        return self.CLOSING if wire.closing else self.OPEN

    readyState = ready_state  # noqa: N815 - Cloudflare's spelling

    async def receive(self) -> Message | None:
        """Return the next message, None once the WebSocket is closed."""
        return await self._ready("receive").receive()

    async def __aiter__(self) -> AsyncIterator[Message]:
        wire = self._ready("async for")
        while (message := await wire.receive()) is not None:
            yield message

    def _bound(self) -> SocketWire:
        if self.wire is None:
            raise TypeError(
                "this end of the WebSocket goes to the client, or the request asks for none"
            )
        return self.wire

    def _ready(self, what: str) -> SocketWire:
        if not self._accepted:
            raise TypeError(f"call accept() before {what}")
        return self._bound()

    # Serving

    async def run(self) -> None:
        """Call listeners until the client's side is closed. Raises what one of them raised."""
        wire = self._bound()
        try:
            while self._error is None:
                if wire.waiting and self._accepted and self._listeners["message"]:
                    await self._fire(MessageEvent(wire.take()))
                elif wire.closed is not None:
                    break
                else:
                    await wire.changed()
            if self._error is None and wire.closed is not None:
                await self._fire(CloseEvent(wire.closed.code, wire.closed.reason))
            if self._tasks and self._error is None:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
        if self._error is not None:
            raise self._error

    async def _fire(self, event: MessageEvent | CloseEvent) -> None:
        for listener in list(self._listeners[event.type]):
            result = listener(event)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                self._tasks.add(task)
                task.add_done_callback(self._done)
        while len(self._tasks) >= _MAX_TASKS:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self._bound().ring()


class WebSocketPair:
    """Two connected ends: ``client, server = WebSocketPair()``."""

    def __init__(self) -> None:
        invocation = current_or_none()
        server = WebSocket(invocation.socket if invocation is not None else None)
        self._ends = (WebSocket(None, server), server)

    @classmethod
    def new(cls) -> WebSocketPair:
        """Make a pair, in JavaScript's spelling."""
        return cls()

    def object_values(self) -> tuple[WebSocket, WebSocket]:
        """Both ends: the client's, then the Worker's."""
        return self._ends

    def __iter__(self) -> Iterator[WebSocket]:
        return iter(self._ends)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int | str) -> WebSocket:
        return self._ends[int(index)]


async def serve_socket(invocation: Invocation, client: WebSocket, headers: Any) -> None:
    """Answer with the client's end of a pair and serve the other one until it is closed."""
    server, wire = client.peer, invocation.socket
    if client.serve is not None:
        await client.serve()
        return
    if wire is None:
        raise TypeError("the client did not ask for a WebSocket: answer 426 instead")
    if server is None or server.wire is not wire:
        raise TypeError("web_socket takes the first end of a WebSocketPair of this request")
    invocation.server.channel.send(invocation.head_frame(101, headers))
    wire.open()
    await server.run()
