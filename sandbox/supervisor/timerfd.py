"""A kernel timer with microsecond aim, readable from an event loop.

Event loops round their own timers to a millisecond, which is a tenth of a small CPU budget.
"""

from __future__ import annotations

import ctypes
import os
import time

_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class TimerFd:
    """One one-shot timer on the monotonic clock (timerfd_create(2))."""

    def __init__(self) -> None:
        self.fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._reference = ctypes.byref(self._spec)

    def fire_in(self, delay_ns: int) -> None:
        """Make the descriptor readable once, ``delay_ns`` from now; replaces an earlier setting."""
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(max(1, delay_ns), 1_000_000_000)
        if _libc.timerfd_settime(self.fd, 0, self._reference, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Take the expiry off the descriptor; call it when the descriptor was readable."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
