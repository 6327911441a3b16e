"""An event loop that reads the wire itself: a request takes the shortest way to its handler.

Most wake-ups of an instance bring one request, after many other processes have run, when nothing of
this one is in the processor's caches. So what counts is how little is touched on the way: the wire
is read where the loop waits, without a callback, and while nothing else is due the loop waits again
there; and the first step of an invocation's task runs without a turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
import socket
from asyncio import Handle
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

_AT_ONCE: Final = 8
"""Events asked for at a time; what is left over is told the next time."""


def _nothing() -> None:
    """Stands in until there is a wire."""


class WireSelector(selectors.EpollSelector):
    """Calls ``on_readable`` for one descriptor, and tells of the others."""

    loop: WireLoop

    def __init__(self) -> None:
        super().__init__()
        self._poll = self._selector.poll  # type: ignore[attr-defined]
        self._wire_fd = -1
        self._on_readable: Callable[[], None] = _nothing
        self._run: Callable[[Callable[[], None]], object] = contextvars.copy_context().run

    def watch(self, wire: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` whenever there is something to read."""
        self.register(wire, selectors.EVENT_READ, (None, None))
        self._wire_fd = wire.fileno()
        self._on_readable = on_readable
        self._run = contextvars.copy_context().run

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for others than the wire, and as long as nothing else is due."""
        if timeout is None:
            wait: float = -1
        else:
            # No sooner than asked for: the kernel counts milliseconds.
            wait = math.ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0
        loop = self.loop
        while True:
            others = False
            for fd, _ in self._poll(wait, _AT_ONCE):
                if fd == self._wire_fd:
                    try:
                        self._run(self._on_readable)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:
                        loop.report(error)
                else:
                    others = True
            if others:
                return super().select(0)
            if wait != -1 or loop.has_more():
                return []


class WireLoop(asyncio.SelectorEventLoop):
    """The loop of an instance."""

    _ready: Any
    _scheduled: Any
    _stopping: bool
    _debug: bool
    _closed: bool

    def __init__(self) -> None:
        self._catching = False
        self._caught: tuple[Callable[..., object], contextvars.Context] | None = None
        self._wire_selector = WireSelector()
        self._wire_selector.loop = self
        super().__init__(self._wire_selector)

    def watch(self, wire: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` whenever the wire has something to read; there is one wire."""
        self._wire_selector.watch(wire, on_readable)

    def has_more(self) -> bool:
        """Something else than what is waited for is due, now or at a known time."""
        return bool(self._ready or self._scheduled or self._stopping)

    def report(self, error: BaseException) -> None:
        """Tell of an error as the loop does of one in a callback."""
        self.call_exception_handler({"message": "Exception on the wire", "exception": error})

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """As any loop does, in fewer steps."""
        if self._catching and context is not None and not args:
            self._catching = False
            self._caught = callback, context
            return None  # type: ignore[return-value]  # a task does not keep it
        if self._debug or self._closed:
            return super().call_soon(callback, *args, context=context)
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def prepare(
        self, coroutine: Coroutine[Any, Any, None]
    ) -> tuple[asyncio.Task[None], Callable[[], object]]:
        """Make a task, and what takes its first step: to be called now, not one turn later."""
        if self._debug or self.get_task_factory() is not None:
            task = self.create_task(coroutine)
            # What create_task has just put there: the same step, the same context, a turn earlier.
            return task, self._ready.pop()._run
        self._catching = True
        try:
            task = asyncio.Task(coroutine, loop=self)
        finally:
            self._catching = False
        caught, self._caught = self._caught, None
        if caught is None:
            raise RuntimeError("a task that asked for no first step")
        step, context = caught
        return task, partial(context.run, step)
