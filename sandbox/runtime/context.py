"""One invocation as the runtime sees it, and which one the running code belongs to."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from sandbox.payloads import MAX_FIELDS, RequestHead, ResponseHead, encode_metadata
from sandbox.protocol import END, MAX_METADATA, FrameType, encode, encode_answer
from sandbox.runtime.channel import IncomingBody, OutgoingBody
from sandbox.runtime.sockets import SocketWire
from sandbox.runtime.threads import at_work
from sandbox.runtime.trace import CpuLimitExceeded

if TYPE_CHECKING:
    from sandbox.runtime.loop import Server

current: ContextVar[Invocation] = ContextVar("invocation")
"""The invocation the running code belongs to; unset at the top level of a script."""


class Invocation:
    """From REQUEST to DONE."""

    __slots__ = (
        "body",
        "cancelled",
        "cpu_reported",
        "disconnect",
        "failed",
        "finished",
        "handled",
        "head",
        "head_sent",
        "log_left",
        "partial_lines",
        "response",
        "server",
        "socket",
        "stream",
        "task",
        "tripped",
        "waiting",
        "whole",
    )

    def __init__(self, server: Server, stream: int, head: RequestHead, *, ended: bool) -> None:
        self.server = server
        self.stream = stream
        self.head = head
        self.body = IncomingBody(server.channel, stream, ended=ended)
        self.response = OutgoingBody(server.channel, stream)
        self.socket = (
            SocketWire(server.channel, stream, head.websocket, self.response)
            if head.websocket
            else None
        )
        """Where the client asks for a WebSocket: the way it goes once the handler accepts."""
        self.head_sent = False
        self.whole: tuple[bytes, bytes] | None = None
        """Head and body of a small response, kept back so that they leave with its end."""
        self.task: asyncio.Task[None] | None = None
        self.waiting: list[asyncio.Task[Any]] = []
        self.cancelled = False
        self.failed = False
        """An exception took the place of the response."""
        self.cpu_reported = False
        self.tripped = False
        """The gateway said that the CPU time is used up."""
        self.handled = False
        """The handler is over; only what waitUntil was given still runs."""
        self.finished = False
        self.disconnect: asyncio.Future[None] | None = None
        self.log_left = server.log_bytes
        self.partial_lines: dict[str, str] | None = None

    def head_frame(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Build the RESPONSE frame; the caller sends it. Raises when the CPU time is used up."""
        return encode(FrameType.RESPONSE, self.stream, self.encode_head(status, headers))

    def encode_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The same without the frame around it."""
        if self.tripped:
            raise CpuLimitExceeded
        if len(headers) > MAX_FIELDS:
            raise ValueError(f"a response has {len(headers)} header fields; {MAX_FIELDS} may be")
        head = encode_metadata(ResponseHead(status, headers))
        if len(head) > MAX_METADATA:
            raise ValueError(f"a response has {len(head)} bytes of header fields; too many")
        self.head_sent = True
        return head

    def flush(self) -> None:
        """Send a response that was kept back."""
        if self.whole is not None:
            (head, body), self.whole = self.whole, None
            frames = (
                encode(FrameType.RESPONSE, self.stream, head),
                encode(FrameType.BODY, self.stream, body, END),
            )
            self.server.channel.send(b"".join(frames))

    def finish(self) -> None:
        """Send DONE, with the response that was kept back."""
        self.finished = True
        if self.whole is None:
            self.server.channel.send_last(encode(FrameType.DONE, self.stream))
            return
        (head, body), self.whole = self.whole, None
        self.server.channel.send_last(encode_answer(self.stream, head, body))

    def cancel(self, error: BaseException) -> None:
        """Note that nobody waits for the response any more."""
        self.cancelled = True
        self.body.fail(error)
        self.response.close()
        if self.socket is not None:
            self.socket.lost()
        if self.disconnect is not None and not self.disconnect.done():
            self.disconnect.set_result(None)

    async def disconnected(self) -> None:
        """Return when the client has gone away."""
        if self.cancelled:
            return
        if self.disconnect is None:
            self.disconnect = asyncio.get_running_loop().create_future()
        await asyncio.shield(self.disconnect)

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Keep the invocation alive until ``awaitable`` is done."""
        if not inspect.isawaitable(awaitable):
            raise TypeError(f"waitUntil() takes an awaitable, not {type(awaitable).__name__}")
        if self.finished:
            raise RuntimeError("waitUntil() was called after its invocation had ended")
        if threading.current_thread() is threading.main_thread():
            self._add(awaitable)
        else:
            self.server.loop.call_soon_threadsafe(self._add, awaitable)

    def _add(self, awaitable: Awaitable[Any]) -> None:
        self.waiting.append(self.server.loop.create_task(_as_coroutine(awaitable)))


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def current_or_none() -> Invocation | None:
    """The invocation the running code belongs to, None outside of any."""
    return current.get(None)


def require_current(what: str) -> Invocation:
    """The invocation the running code belongs to. Raises RuntimeError outside of one."""
    invocation = current.get(None)
    if invocation is None:
        raise RuntimeError(
            f"Disallowed operation called within global scope: {what} needs a request. "
            "Call it inside a handler."
        )
    if invocation.finished:
        raise RuntimeError(f"{what} was called after its invocation had ended. Use waitUntil().")
    return invocation


def _discard(awaitable: Awaitable[Any]) -> None:
    """Close a coroutine that nobody will await, before Python warns of it."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()


_installed: list[bool] = []


def install() -> None:
    """Let the threads of executors know the invocation they work for. Again: changes nothing."""
    if _installed:
        return
    _installed.append(True)
    submit: Any = ThreadPoolExecutor.submit

    @functools.wraps(submit)
    def knowing(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        # As asyncio.to_thread() does it.
        run = copy_context().run
        return submit(self, run, at_work, current.get(None), fn, *args, **kwargs)

    ThreadPoolExecutor.submit = knowing  # type: ignore[method-assign]


def adapt_anyio(module: Any) -> None:
    """Let it be known whom the threads of anyio (FastAPI, Starlette) work for."""
    original = module.run_sync

    @functools.wraps(original)
    async def run_sync(func: Any, *args: Any, **options: Any) -> Any:
        return await original(at_work, current.get(None), func, *args, **options)

    module.run_sync = run_sync


class Context:
    """What a handler receives as ``ctx``."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Keep the invocation alive until ``awaitable`` is done; the response is not delayed."""
        self._invocation.wait_until(awaitable)

    waitUntil = wait_until  # noqa: N815 - Cloudflare's spelling


def wait_until(awaitable: Awaitable[Any]) -> None:
    """Keep the current invocation alive until ``awaitable`` is done."""
    require_current("waitUntil()").wait_until(awaitable)


def wait_for_wire(coroutine: Coroutine[Any, Any, Any], host: str) -> Any:
    """Wait for what only the gateway has to answer; on the loop's own thread the loop waits.

    But not for itself: RuntimeError there, if ``host`` is the one that the request was for.
    """
    invocation = require_current("an HTTP client")
    server, own = invocation.server, invocation.head.authority.lower()
    on_loop = threading.current_thread() is threading.main_thread() and server.loop.is_running()
    itself = f"{own}:".startswith(f"{host.lower()}:")
    return server.stand(coroutine) if on_loop and not itself else run_sync(coroutine)


def run_sync(awaitable: Awaitable[Any]) -> Any:
    """Wait for ``awaitable`` from synchronous code and return its result.

    Works in synchronous handlers, WSGI apps, and threads of asynchronous handlers. Raises
    RuntimeError in code that runs on the event loop, which has to ``await``, and in threads of
    synchronous handlers.
    """
    server = require_current("run_sync()").server
    if threading.current_thread() is not threading.main_thread():
        if not server.loop.is_running():
            _discard(awaitable)
            raise RuntimeError(
                "in threads of a synchronous handler nothing can be fetched: fetch in the handler "
                "itself, or use an async def handler, whose threads can"
            )
        coroutine: Coroutine[Any, Any, Any] = _as_coroutine(awaitable)
        return asyncio.run_coroutine_threadsafe(coroutine, server.loop).result()
    if server.loop.is_running():
        _discard(awaitable)
        raise RuntimeError(
            "run_sync() cannot wait on the event loop's own thread: use await; of a synchronous "
            "HTTP client, use httpx.AsyncClient, fetch() or await asyncio.to_thread(...)"
        )
    return server.run_until(_as_coroutine(awaitable))
