"""Reading another process's CPU clock exactly.

The kernel brings the clock of a process that runs on another core up to date at scheduler ticks
only, so a plain read may be 4 ms behind. Changing a scheduling attribute of the process first
brings it up to date: its nice value (needs CAP_SYS_NICE), or its time slice (same user id, Linux
6.12). The read never fails open: where neither works it is a plain read, and a process that is gone
is an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Final

from sandbox.jail import syscalls

NICE: Final = 5
"""Nice value of instances: the gateway goes first."""
LOW_NICE: Final = 18
"""That of one which gives way to the others: it gets a twentieth of what they get."""
_SLICE_NS: Final = 3_000_000
_SLICE_STEP_NS: Final = 64


class CpuClock:
    """The CPU clock of one process, all its threads together."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), include/linux/posix-timers_types.h
        self._clock = (~pid << 3) | 2
        self._flip = 0
        self._nice = NICE
        self._refresh = self._by_nice

    def read(self, *, exact: bool) -> int:
        """Return nanoseconds used so far. Raises ProcessLookupError when the process is gone."""
        if exact:
            self._flip ^= 1
            self._refresh()
        try:
            return time.clock_gettime_ns(self._clock)
        except OSError as error:
            raise ProcessLookupError(errno.ESRCH, f"process {self._pid} is gone") from error

    def give_way(self, on: bool) -> None:
        """Have the process let others go first, or stop it; only where both can be done."""
        if self._refresh == self._by_nice:
            self._nice = LOW_NICE if on else NICE
            with contextlib.suppress(ProcessLookupError):
                self._refresh()

    def _by_nice(self) -> None:
        try:
            # Instances lead a process group of their own, so one call reaches every thread.
            os.setpriority(os.PRIO_PGRP, self._pid, self._nice + self._flip)
        except ProcessLookupError:
            raise
        except OSError:
            self._refresh = self._by_slice
            self._by_slice()

    def _by_slice(self) -> None:
        try:
            threads = os.listdir(f"/proc/{self._pid}/task")
            for thread in threads:
                self._toggle_slice(int(thread))
        except FileNotFoundError as error:
            raise ProcessLookupError(errno.ESRCH, f"process {self._pid} is gone") from error
        except OSError:
            self._refresh = _no_refresh

    def _toggle_slice(self, thread: int) -> None:
        try:
            # One above, where toggling nice may have left it: an ordinary user may not go back.
            syscalls.sched_setattr(thread, NICE + 1, _SLICE_NS + _SLICE_STEP_NS * self._flip)
        except ProcessLookupError:
            pass  # A thread that has just ended; its time is in the sum.


def _no_refresh() -> None:
    """Leave the clock as stale as it is."""
