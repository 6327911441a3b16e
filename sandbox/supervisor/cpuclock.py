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
LONG_SLICE_NS: Final = 20_000_000
"""Turn of one which gives way. Whoever wakes and asks for a shorter one need not wait for its end:
weight alone does not interrupt a turn, which is 1 to 4 ms for those that ask for none."""
SHORT_SLICE_NS: Final = 500_000
"""Turn of instances whose turns cannot be changed: none of them keeps another waiting for long."""
_SLICE_NS: Final = 3_000_000
_SLICE_STEP_NS: Final = 64
_CAP_SYS_NICE: Final = 23


def first_slice_ns() -> int:
    """Return the turn that instances are born with: a long one, where it can be taken back.

    Whoever starts gives way to those that serve, and so does who has not been seen to be quick.
    """
    if os.geteuid() == 0 and not _has_capability(_CAP_SYS_NICE):
        return SHORT_SLICE_NS
    return LONG_SLICE_NS


def _has_capability(number: int) -> bool:
    with open("/proc/self/status", encoding="ascii") as file:
        held = next((int(line[7:], 16) for line in file if line.startswith("CapEff:")), 0)
    return bool(held >> number & 1)


class CpuClock:
    """The CPU clock of one process, all its threads together."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), include/linux/posix-timers_types.h
        self.number: Final = (~pid << 3) | 2
        """As clock_gettime(2) knows it."""
        self._flip = 0
        self._nice = NICE
        self._slice_ns = LONG_SLICE_NS
        self._refresh = self._by_nice

    def read(self, *, exact: bool) -> int:
        """Return nanoseconds used so far. Raises ProcessLookupError when the process is gone."""
        if exact:
            self._flip ^= 1
            self._refresh()
        try:
            return time.clock_gettime_ns(self.number)
        except OSError as error:
            raise ProcessLookupError(errno.ESRCH, f"process {self._pid} is gone") from error

    def delayed_ns(self) -> int:
        """Return how long its main thread has waited for a core so far; 0 where nobody counts."""
        try:
            with open(f"/proc/{self._pid}/schedstat", "rb", buffering=0) as file:
                return int(file.read(64).split()[1])
        except (OSError, IndexError):
            return 0

    def give_way(self, on: bool) -> None:
        """Have the process let others go first, or stop it, by what can be undone here."""
        self._slice_ns = LONG_SLICE_NS if on else _SLICE_NS
        # Not every kernel knows of slices, and the process may be gone.
        with contextlib.suppress(OSError):
            if self._refresh == self._by_nice:
                self._nice = LOW_NICE if on else NICE
                self._by_nice()
            if self._refresh == self._by_nice:
                # 0: the usual one.
                self._set_slices(self._nice + self._flip, LONG_SLICE_NS if on else 0)
            elif self._refresh == self._by_slice:
                self._by_slice()

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
            # One above, where toggling nice may have left it: an ordinary user may not go back.
            self._set_slices(NICE + 1, self._slice_ns + _SLICE_STEP_NS * self._flip)
        except ProcessLookupError:
            raise
        except OSError:
            self._refresh = _no_refresh

    def _set_slices(self, nice: int, slice_ns: int) -> None:
        """Set them of every thread; new ones inherit them."""
        try:
            threads = os.listdir(f"/proc/{self._pid}/task")
        except FileNotFoundError as error:
            raise ProcessLookupError(errno.ESRCH, f"process {self._pid} is gone") from error
        for thread in threads:
            # One that has just ended leaves its time in the sum.
            with contextlib.suppress(ProcessLookupError):
                syscalls.sched_setattr(int(thread), nice, slice_ns)


def _no_refresh() -> None:
    """Leave the clock as stale as it is."""
