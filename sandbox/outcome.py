"""How an invocation ended, and the pure function that decides it from what was seen outside."""

from __future__ import annotations

import signal
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """The outcome strings of workerd's ``EventOutcome`` (outcome.capnp), spelled as on the wire."""

    UNKNOWN = "unknown"
    OK = "ok"
    EXCEPTION = "exception"
    EXCEEDED_CPU = "exceededCpu"
    KILL_SWITCH = "killSwitch"
    DAEMON_DOWN = "daemonDown"
    SCRIPT_NOT_FOUND = "scriptNotFound"
    CANCELED = "canceled"
    EXCEEDED_MEMORY = "exceededMemory"
    LOAD_SHED = "loadShed"
    RESPONSE_STREAM_DISCONNECTED = "responseStreamDisconnected"
    INTERNAL_ERROR = "internalError"
    EXCEEDED_WALL_TIME = "exceededWallTime"
    ABORTED = "aborted"


class ExitStatus(msgspec.Struct, frozen=True):
    """How an instance's process ended, as its parent reaped it.

    ``code`` is the exit code when it exited by itself, ``signal`` the signal that ended it; one of
    the two is None. ``cpu_ns`` and ``peak_rss_bytes`` are the kernel's final figures for it;
    ``out_of_memory`` says that the kernel killed it for the memory of its cgroup, ``with_zygote``
    that its zygote ended and took it along, whatever it did itself.
    """

    code: int | None = None
    signal: int | None = None
    cpu_ns: int = 0
    peak_rss_bytes: int = 0
    out_of_memory: bool = False
    with_zygote: bool = False

    def describe(self) -> str:
        """Name the end in words a tenant understands, e.g. ``was killed by SIGSEGV``."""
        if self.with_zygote:
            return "ended with its zygote"
        if self.out_of_memory:
            return "ran out of memory"
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = f"signal {self.signal}"
            return f"was killed by {name}"
        return f"exited with status {self.code}"


def classify_exit(killed_for: Outcome | None, status: ExitStatus | None) -> Outcome:
    """Say whose fault the end of an instance with requests in flight was.

    What the gateway killed it for wins. One that went with its zygote had no part in it:
    ``internalError``. An instance that ended by itself (``os._exit``, a crash, a forbidden system
    call) failed in the tenant's code: ``exception``.
    """
    if killed_for is not None:
        return killed_for
    if status is not None and status.with_zygote:
        return Outcome.INTERNAL_ERROR
    if status is not None and status.out_of_memory:
        return Outcome.EXCEEDED_MEMORY
    if status is not None and status.signal == signal.SIGXCPU:
        return Outcome.EXCEEDED_CPU
    return Outcome.EXCEPTION
