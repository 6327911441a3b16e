"""The zygote's reaper: collects ended children and says how each ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, Final

from sandbox.supervisor.messages import Exited

_KIB: Final = 1024


def _ignore(_signal: int, _frame: Any) -> None:
    """Exist: without a handler the wake-up descriptor is not written."""


def watch_children() -> int:
    """Return a descriptor that becomes readable when a child ends."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return read_end


def stop_watching(wakeup: int) -> None:
    """Undo what :func:`watch_children` did."""
    os.close(signal.set_wakeup_fd(-1))
    os.close(wakeup)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def reap(wakeup: int) -> Iterator[Exited]:
    """Yield every child that has ended, reaping it."""
    try:
        while os.read(wakeup, 4096):
            pass
    except BlockingIOError:
        pass
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield Exited(
            pid=pid,
            status=status,
            cpu_ns=int((usage.ru_utime + usage.ru_stime) * 1e9),
            peak_rss_bytes=usage.ru_maxrss * _KIB,
        )
