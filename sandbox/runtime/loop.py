"""Serving: frames in, invocations on one event loop or one after the other, frames out.

Asynchronous entrypoints run as tasks of one persistent event loop that watches the wire.
Synchronous ones run between two turns of it: while they run the loop stands still, and what they
wait for is read from the wire by a blocking pump, or by running the loop until it is there.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from sandbox.payloads import RequestHead, decode_struct, encode_struct
from sandbox.protocol import END, Frame, FrameType, decode_credit
from sandbox.runtime import console
from sandbox.runtime.adapter import Adapter
from sandbox.runtime.channel import Channel
from sandbox.runtime.context import Invocation, current
from sandbox.runtime.scheduled import ScheduledAdapter
from sandbox.runtime.sockets import SocketClosed
from sandbox.runtime.subrequest import Subrequests
from sandbox.runtime.threads import recall
from sandbox.runtime.trace import CpuLimitExceeded, Tracer
from sandbox.runtime.wireloop import WireLoop

T = TypeVar("T")
_CANCEL_GRACE_SECONDS = 1.0
_EAGER = sys.version_info >= (3, 12)


class ClientGone(OSError):
    """The client went away while the handler was reading or writing."""


class Server:
    """Everything that happens on the wire after READY."""

    def __init__(self, channel: Channel, loop: WireLoop, tracer: Tracer, log_bytes: int) -> None:
        self.channel = channel
        self.loop = loop
        self.log_bytes = log_bytes
        self.recorder = console.Recorder(channel, log_bytes)
        self.invocations: dict[int, Invocation] = {}
        self.subrequests = Subrequests(channel)
        self.adapter: Adapter | None = None
        self._tracer = tracer
        self._deferred: deque[Invocation] = deque()
        self._running: Invocation | None = None
        """The one that synchronous code serves."""
        self._draining = False
        self._root: asyncio.Task[None] | None = None
        self._awaited: asyncio.Task[Any] | None = None
        """What synchronous code has the loop run for."""
        self._standing = False
        """Code on the loop waits for the wire, and nothing else may begin or go on."""
        self._drained = asyncio.Event()
        channel.on_frame = self._on_frame
        loop.watch(channel.wire, channel.poll)

    # The two ways of serving

    def serve(self, adapter: Adapter) -> None:
        """Serve until DRAIN; the end of the wire ends the process."""
        self.adapter = adapter
        if adapter.concurrent:
            self.loop.call_soon(self._start_early)
            self._serve_on_loop()
        else:
            self._serve_blocking()
        self.run_until(adapter.shutdown())

    def _serve_on_loop(self) -> None:
        while not self._drained.is_set():
            # Run by run_until_complete, not run_forever: anyio takes such a task for the owner of
            # its worker threads and keeps them from one request to the next.
            if self._root is None or self._root.done():
                self._root = self.loop.create_task(self._until_drained())
            try:
                self.loop.run_until_complete(self._root)
            except BaseException as error:  # a task of the tenant's raised SystemExit, or worse
                self._report_stray(error)

    def _start_early(self) -> None:
        """Take what came in while the script was loading."""
        while self._deferred:
            self._launch(self._deferred.popleft())
        self.channel.dispatch_pending()

    async def _until_drained(self) -> None:
        await self._drained.wait()

    def _serve_blocking(self) -> None:
        while not (self._draining and not self._deferred):
            try:
                if self._deferred:
                    self._launch(self._deferred.popleft())
                else:
                    self._on_frame(self.channel.next_frame())
            except CpuLimitExceeded as error:  # its frame was a finaliser that ran in ours
                self._report_stray(error)

    def _report_stray(self, error: BaseException) -> None:
        text = f"{type(error).__name__} raised outside of any handler: {error}"
        self.recorder.record("error", [text])

    def run_until(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the event loop until ``coroutine`` is done. Raises what it raises."""
        self.loop.call_soon(self.channel.dispatch_pending)
        task = self.loop.create_task(coroutine)
        outer, self._awaited = self._awaited, task
        try:
            return self.loop.run_until_complete(task)
        finally:
            self._awaited = outer

    def stand(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Take a coroutine to its end while the loop stands still: it may wait for the wire only.

        Raises what it raises.
        """
        outer, self._standing = self._standing, True
        self.subrequests.standing = True
        try:
            while True:
                waits_for: Any = coroutine.send(None)
                waits_for._asyncio_future_blocking = False
                self.channel.pump(waits_for.done)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            coroutine.close()
            self._standing = self.subrequests.standing = outer
            if not outer:
                self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take in what came before, or together with, what the loop stood still for."""
        if self._running is None and self.adapter is not None:
            self._start_early()
        else:
            self.channel.dispatch_pending()

    # Frames from the gateway

    def _on_frame(self, frame: Frame) -> None:
        kind, flags, stream, payload = frame
        if kind == FrameType.REQUEST:
            self._start(frame)
        elif stream & 1:
            self.subrequests.on_frame(frame)
        elif kind == FrameType.DRAIN:
            self._draining = True
            self._check_drained()
        else:
            invocation = self.invocations.get(stream)
            if invocation is None:
                return
            if kind == FrameType.BODY:
                invocation.body.feed(payload, ended=bool(flags & END))
            elif kind == FrameType.CREDIT:
                self._grant(invocation, decode_credit(payload))
            elif kind == FrameType.CANCEL:
                self._cancel(invocation, at_once=bool(flags & END))
            elif invocation.socket is not None:
                invocation.socket.on_frame(frame)

    def _grant(self, invocation: Invocation, amount: int) -> None:
        if invocation.socket is not None and invocation.socket.opened:
            invocation.socket.grant(amount)
        else:
            invocation.response.grant(amount)

    def _start(self, frame: Frame) -> None:
        head = decode_struct(RequestHead, frame.payload)
        invocation = Invocation(self, frame.stream, head, ended=bool(frame.flags & END))
        self.invocations[frame.stream] = invocation
        if self.adapter is None or self._running is not None or self._standing:
            self._deferred.append(invocation)
        else:
            self._launch(invocation)

    def _launch(self, invocation: Invocation) -> None:
        adapter = self.adapter
        if adapter is None:
            raise RuntimeError("a request before the script was loaded")
        if invocation.head.scheduled is not None:
            adapter = ScheduledAdapter(adapter)
        self.recorder.outside_left = self.log_bytes
        if adapter.concurrent:
            self._spawn(self._run(adapter, invocation), invocation)
        else:
            contextvars.copy_context().run(self._run_blocking, adapter, invocation)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], invocation: Invocation) -> None:
        """Create the invocation's task and run its first step now, not one turn later."""
        if _EAGER:
            make_task: Any = asyncio.Task
            task = make_task(coroutine, loop=self.loop, eager_start=True)
            invocation.task = None if invocation.finished else task
            return
        invocation.task, begin = self.loop.prepare(coroutine)
        begin()

    # One invocation

    async def _run(self, adapter: Adapter, invocation: Invocation) -> None:
        current.set(invocation)
        try:
            await adapter.handle(invocation)
        except BaseException as error:
            self._failed(invocation, error)
        if invocation.waiting:
            self._answer(invocation)
            await self._settle(invocation)
        self._finish(invocation)

    def _run_blocking(self, adapter: Adapter, invocation: Invocation) -> None:
        current.set(invocation)
        self._running = invocation
        try:
            if not invocation.cancelled:
                adapter.handle_blocking(invocation)
        except BaseException as error:
            self._failed(invocation, error)
        if invocation.waiting:
            self._answer(invocation)
            self.run_until(self._settle(invocation))
        self._running = None
        self._finish(invocation)

    def _answer(self, invocation: Invocation) -> None:
        """Send the response before what waitUntil was given takes its time."""
        if invocation.tripped and not invocation.cpu_reported:
            self._failed(invocation, CpuLimitExceeded())
        invocation.flush()
        invocation.handled = True

    async def _settle(self, invocation: Invocation) -> None:
        """Wait for what waitUntil was given, and for what that gives it in turn."""
        invocation.task = asyncio.current_task()
        while invocation.waiting:
            waiting, invocation.waiting = invocation.waiting, []
            results: list[Any] = []
            try:
                results = await asyncio.gather(*waiting, return_exceptions=True)
            except asyncio.CancelledError as error:
                results = [error]
            for result in results:
                if isinstance(result, BaseException):
                    self._send_exception(invocation, result)

    def _failed(self, invocation: Invocation, error: BaseException) -> None:
        """Report what the handler raised, instead of its response or cutting it short."""
        if invocation.response.ended and invocation.whole is None:
            if not (isinstance(error, ClientGone) or _has_left(invocation, error)):
                self._send_exception(invocation, error)
            return
        invocation.whole = None
        invocation.failed = True
        invocation.response.close()
        self._send_exception(invocation, error)

    def _send_exception(self, invocation: Invocation, error: BaseException) -> None:
        gone = isinstance(error, asyncio.CancelledError | ClientGone)
        gone = gone or _has_left(invocation, error)
        kind: str | None = "canceled" if invocation.cancelled and gone else None
        if invocation.tripped or isinstance(error, CpuLimitExceeded):
            kind = "cpu"
            invocation.cpu_reported = True
            if not isinstance(error, CpuLimitExceeded):
                error = CpuLimitExceeded().with_traceback(error.__traceback__)
        record = self._tracer.record(error, kind)
        error.__traceback__ = None
        frame = encode_struct(FrameType.EXCEPTION, invocation.stream, record)
        self.channel.send(frame)

    def _finish(self, invocation: Invocation) -> None:
        if invocation.partial_lines:
            console.flush_partial(self.recorder, invocation.partial_lines)
        if invocation.tripped and not invocation.cpu_reported:
            self._failed(invocation, CpuLimitExceeded())
        elif not (invocation.failed or invocation.response.ended):
            self._failed(invocation, ClientGone("the client closed the connection"))
        self.subrequests.abandon(invocation)
        self.invocations.pop(invocation.stream, None)
        if invocation.tripped:
            recall()
        invocation.finish()
        # Its context holds the invocation: the circle would be left to the collector.
        invocation.task = None
        if self._draining:
            self._check_drained()

    def _cancel(self, invocation: Invocation, *, at_once: bool) -> None:
        """Nobody waits for the answer: end the handler; what it left behind gets a while."""
        if invocation.handled:
            invocation.cancelled = True
            wait = 0 if at_once else _CANCEL_GRACE_SECONDS
            self.loop.call_later(wait, _cancel_rest, invocation)
            return
        invocation.cancel(ClientGone("the client closed the connection"))
        if self._standing:
            # Its code may be what waits: nothing else ends that.
            self.subrequests.abandon(invocation)
        task = self._awaited if invocation is self._running else invocation.task
        if task is None or self.adapter is None:
            return
        if self.adapter.kind == "asgi":
            self.loop.call_later(_CANCEL_GRACE_SECONDS, _cancel_handler, invocation, task)
        else:
            task.cancel()

    def _check_drained(self) -> None:
        if not self.invocations:
            self._drained.set()


def _cancel_rest(invocation: Invocation) -> None:
    if invocation.task is not None and not invocation.finished:
        invocation.task.cancel()


def _has_left(invocation: Invocation, error: BaseException | None) -> bool:
    """Whether the handler failed only because it sent to a WebSocket whose client had closed."""
    if invocation.socket is None or invocation.socket.closed is None:
        return False
    for _ in range(8):
        if isinstance(error, SocketClosed):
            return True
        error = (error.__cause__ or error.__context__) if error is not None else None
    return False


def _cancel_handler(invocation: Invocation, task: asyncio.Task[None]) -> None:
    if not invocation.handled and not invocation.finished:
        task.cancel()
