"""Time that the machine below took away, for which nobody is to be told that it took too long.

A virtual core that its host does not run stands still, with the process on it. Whatever brings the
CPU clock of that process up to date from another core meanwhile (an exact reading, or a process
that is woken beside it) adds the standstill to it: what was stolen is known only once the core is
back, and then the clock stands still for as long (update_rq_clock_task in Linux's
kernel/sched/core.c; MSR_KVM_STEAL_TIME in its Documentation/virt/kvm/x86/msr.rst). A hello would be
told that it has used up its 10 ms.

A process whose system call waits for a lock that such a core holds is charged as long, too.

So before somebody is told that, somebody else has to run on that core, which shows that it is back,
and is asked whether time was stolen. Code that burns can take none away, and gains nothing by it.
Who has not had the core all the time is not asked about: a core that stands still is nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from sandbox.jail import syscalls

PATIENCE_NS: Final = 100_000_000
"""A core that does not come back for longer is not waited for."""
SLICE_NS: Final = 100_000
"""Turn of who is in a hurry: a short one is given sooner (EEVDF, Linux 6.12)."""
_OFF_NS: Final = 200_000
"""Who has used so much less than has passed has not had the core all the time."""
_FEW_CORES: Final = 8
"""Of no more than these all are asked: who waits for what another core holds is charged, too."""
_THREADS: Final = 4
"""So many cores may be waited for at a time."""
_STAT: Final = Path("/proc/stat")
_STOLEN: Final = re.compile(rb"^cpu(\d+)(?: \d+){7} (\d+)", re.MULTILINE)
_PROCESSOR: Final = 36
_RUNNING: Final = b"R"


def take_short_turns() -> None:
    """Have the scheduler run this thread soon after it is woken; children do not inherit it."""
    with contextlib.suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        syscalls.sched_setattr(0, nice, SLICE_NS, syscalls.SCHED_RESET_ON_FORK)


def stolen_ticks(stat: Path = _STAT) -> Mapping[int, int]:
    """Return how often the host did not run each core, in clock ticks; none: nobody knows."""
    with contextlib.suppress(OSError):
        return {int(core): int(ticks) for core, ticks in _STOLEN.findall(stat.read_bytes())}
    return {}


def cores_of(pid: int) -> set[int]:
    """Return the cores that run threads of a process, or did last; none: it is gone."""
    running, last = set(), set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/task/{thread}/stat").read_bytes()
                state, *fields = text.rpartition(b")")[2].split()
                last.add(int(fields[_PROCESSOR - 1]))
                if state == _RUNNING:
                    running.add(int(fields[_PROCESSOR - 1]))
    return running or last


class StolenTime:
    """Asks what was stolen, in threads: whoever has to run on a core that stands still waits."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self.is_told = bool(stolen_ticks(stat))
        """The kernel keeps an account of it."""
        self._all_cores = os.sched_getaffinity(0)
        self._threads = ThreadPoolExecutor(_THREADS, "stolen-time", take_short_turns)

    def now(self) -> Future[Mapping[int, int]]:
        """What was stolen of each core so far, in ticks."""
        return self._threads.submit(stolen_ticks, self._stat)

    def since(self, before: Future[Mapping[int, int]], pid: int) -> asyncio.Future[bool]:
        """Whether any was stolen of the cores that matter to a process, all of which are back.

        Told in ticks, so a standstill that is shorter than one may go unnoticed.
        """
        return asyncio.wrap_future(self._threads.submit(self._since, before, pid))

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _since(self, before: Future[Mapping[int, int]], pid: int) -> bool:
        earlier, cores = before.result(), cores_of(pid)
        if len(self._all_cores) <= _FEW_CORES:
            cores |= self._all_cores
        for core in cores:
            # It may have been taken away altogether.
            with contextlib.suppress(OSError):
                syscalls.sched_setaffinity({core})
        with contextlib.suppress(OSError):
            syscalls.sched_setaffinity(self._all_cores)
        later = stolen_ticks(self._stat)
        return any(later.get(core, 0) > earlier.get(core, 0) for core in cores)


class Doubt:
    """Whether a process did burn what its clock shows."""

    def __init__(self, pid: int, stolen: StolenTime, tell: Callable[[bool], None]) -> None:
        self._pid = pid
        self._stolen = stolen
        self._tell = tell
        self._before: Future[Mapping[int, int]] | None = None
        self._asked: asyncio.Future[bool] | None = None
        self._asked_at_ns = self._since_ns = self._cpu_ns = 0
        self._answered = False

    def rise(self, cpu_ns: int) -> Future[Mapping[int, int]]:
        """The process nears its limit: what is stolen from here on counts."""
        if self._before is None:
            self._before = self._stolen.now()
            self._cpu_ns, self._since_ns = cpu_ns, time.monotonic_ns()
        return self._before

    def settle(self) -> None:
        """What was asked, if anything, is of no interest any more."""
        self._before = self._asked = None
        self._answered = False

    def holds(self, now_ns: int, cpu_ns: int) -> bool:
        """The limit seems hit: whether that is yet to be shown. ``tell`` is called when it is.

        The clock showed ``cpu_ns`` at ``now_ns`` (monotonic) or a little later.
        """
        if self._asked is not None:
            return not self._answered and now_ns - self._asked_at_ns < PATIENCE_NS
        if not self._stolen.is_told:
            return False
        before = self.rise(cpu_ns)
        if now_ns - self._since_ns - (cpu_ns - self._cpu_ns) > _OFF_NS:
            return False
        if before.done() and not any(before.result().values()):
            # This machine is nobody's guest, or its host does not say what it takes.
            return False
        self._asked = self._stolen.since(before, self._pid)
        self._asked_at_ns = now_ns
        self._asked.add_done_callback(self._on_answer)
        return True

    def _on_answer(self, answer: asyncio.Future[bool]) -> None:
        if answer is self._asked and not answer.cancelled():
            self._answered = True
            self._tell(answer.result())
