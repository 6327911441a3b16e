"""Threads that work for an invocation: which they are, which of them burn, and raising in them.

A signal's handler runs in the main thread alone, so what is to end another has to be raised there
from here. That is possible for a thread that holds the interpreter or waits for it, at once; one
that is in a C function gets it when that returns.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import TYPE_CHECKING, Any

from sandbox.runtime.trace import CpuLimitExceeded

if TYPE_CHECKING:
    from sandbox.runtime.context import Invocation

SWITCH_SECONDS = 0.0005
"""After so long a thread that runs gives way to one that waits: the main one has a signal then.

Python's own 5 ms are half of a small budget. This costs who hands short work to threads a tenth
of what the handing over costs.
"""
_NEAR_NS = 5_000_000
"""What was burnt between two looks says who burns if it was no more than this."""
_BURNS_NS = 300_000
"""And no less than this."""
_PER_THREAD = 6
"""Of the clock of one thread's CPU time, in clock_gettime(2)'s numbers."""
_prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)
# Not as an attribute of pythonapi: that one is everybody's.
_set_exception = _prototype(("PyThreadState_SetAsyncExc", ctypes.pythonapi))
_NOTHING: Any = ctypes.py_object()
_working: dict[int, Invocation] = {}
"""By identity of the thread."""
_aimed: set[int] = set()
"""Threads in which an exception may be on its way."""


def at_work(
    invocation: Invocation | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call a function in a thread that works for an invocation meanwhile."""
    if invocation is None:
        return function(*args, **kwargs)
    ident = threading.get_ident()
    outer = _working.get(ident)
    _working[ident] = invocation
    try:
        return function(*args, **kwargs)
    finally:
        try:
            _leave(ident, outer)
        except CpuLimitExceeded:
            # It was on its way when the function returned. No other can be: it was the last to be
            # aimed at anything but our own code.
            _leave(ident, outer)
            raise


def _leave(ident: int, outer: Invocation | None) -> None:
    """Nothing is aimed at the thread from here on, nor still on its way: other work may follow."""
    if outer is None:
        _working.pop(ident, None)
    else:
        _working[ident] = outer
    if ident in _aimed:
        _set_exception(ident, _NOTHING)
        _aimed.discard(ident)


def aim(ident: int, before: float) -> None:
    """Raise CpuLimitExceeded in a thread as soon as it runs Python code.

    Only before a time (``perf_counter``) until which no other thread can have run.
    """
    _aimed.add(ident)
    if time.perf_counter() < before:
        # Between these two the interpreter gives way to nobody.
        _set_exception(ident, CpuLimitExceeded)


def recall() -> None:
    """Take back what has not arrived: whom it was meant for has ended."""
    while _aimed:
        _set_exception(_aimed.pop(), _NOTHING)


def is_entry(frame: FrameType) -> bool:
    """Whether this is where a thread took up its work: what runs above is the tenant's."""
    return frame.f_code is at_work.__code__


def works_for(invocation: Invocation, idents: Collection[int]) -> bool:
    """Whether any of the threads works for an invocation."""
    return any(_working.get(ident) is invocation for ident in idents)


class Look:
    """What was burnt, ns, since the last look. Only the main thread may look."""

    def __init__(self) -> None:
        self.told = False
        """The look before was a moment ago: the figures say who burns."""
        self.others = 0
        """What all threads beside the main one burnt together."""
        self.own = 0
        self._each: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._at = (-_NEAR_NS, 0)

    @property
    def at_threads(self) -> bool:
        """Whether it is not mainly the main thread that burns."""
        return self.others * 2 >= self.own

    def take(self, idents: Collection[int]) -> None:
        """Look at the main thread and these."""
        at, before = self._at, self._seen
        now = time.process_time_ns(), time.thread_time_ns()
        burnt = now[0] - at[0]
        self.told = _BURNS_NS <= burnt < _NEAR_NS
        if burnt < _BURNS_NS:
            return  # Two signals came together.
        self._seen = {}
        # The lock that belongs to this may be held by what the signal has interrupted.
        known: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
        for ident, thread in list(known.items()):
            if ident in idents and thread.native_id is not None:
                with contextlib.suppress(OSError):
                    number = (~thread.native_id << 3) | _PER_THREAD
                    self._seen[ident] = time.clock_gettime_ns(number)
        self.own = now[1] - at[1]
        self.others = burnt - self.own
        self._each = {i: ns - before[i] for i, ns in self._seen.items() if i in before}
        self.end()

    def end(self) -> None:
        """What was burnt until here, to look and to stop them, is nobody's."""
        self._at = time.process_time_ns(), time.thread_time_ns()

    def burning(self, idents: Collection[int], only: Invocation | None) -> dict[int, Invocation]:
        """Return the threads to be stopped, and for whom they burn.

        ``only`` is the invocation that it can be. None: there are several, and it is that of the
        thread that burns most; nobody's, when that cannot be said.
        """
        if not self._seen:
            return _all_of(idents, only)
        most = max(self._each.values(), default=0)
        hot = [i for i, ns in self._each.items() if ns * 2 >= most > 0]
        # It can be nobody else's that its tenant's code has begun by itself.
        whose = {ident: _working.get(ident, only) for ident in hot}
        if only is None and hot:
            only = whose[max(hot, key=self._each.__getitem__)]
        if only is None or only.finished or only not in whose.values():
            return {}
        # All that work for it: some may not have had their turn since.
        found = {ident: only for ident in idents if _working.get(ident) is only}
        return found | {ident: only for ident, each in whose.items() if each is only}


def _all_of(idents: Collection[int], only: Invocation | None) -> dict[int, Invocation]:
    """The same where the clocks of threads may not be read."""
    working = {i: _working[i] for i in idents if i in _working}
    working = {i: whose for i, whose in working.items() if not whose.finished}
    if only is None and len(set(working.values())) > 1:
        return {}
    return {i: whose for i, whose in working.items() if only is None or whose is only}
