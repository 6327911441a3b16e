"""One instance as the gateway holds it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from contextlib import suppress
from typing import Final

import msgspec

from sandbox.errors import SpawnError
from sandbox.outcome import ExitStatus
from sandbox.spec import SandboxSpec
from sandbox.supervisor.cgroups import Group
from sandbox.supervisor.cpuclock import NICE, CpuClock

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_JAILED_BYTES: Final = 3 << 20
"""Pages of its own that an instance has once it is jailed."""


def host_pid(pidfd: int) -> int:
    """Return the pid, as this process numbers it, behind a pidfd; -1 when it has been reaped."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise SpawnError("the zygote sent a descriptor that is not a pidfd")


class Sandbox:
    """A running, jailed process. It owns its descriptors until :meth:`close`."""

    def __init__(self, pidfd: int, spec: SandboxSpec, wire: socket.socket, log_fd: int) -> None:
        self.pid = host_pid(pidfd)
        """As the gateway numbers it."""
        self.spec = spec
        self.wire = wire
        """The gateway's end, non-blocking."""
        self.log_fd = log_fd
        """Read end, non-blocking, of the pipe behind the instance's standard output and error."""
        self.exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        """Resolved when the process has been reaped."""
        self.base_rss_bytes = 0
        """Resident memory when the jail had just been closed: the shared runtime's part."""
        self.group: Group | None = None
        """Its cgroup, where the node makes any."""
        self.outdated = False
        """Its zygote has been replaced: better to start another in its place."""
        self.orphaned = False
        """Its zygote is gone: it goes too, and nobody can tell how it would have ended."""
        self._pidfd = pidfd
        self._clock = CpuClock(self.pid)
        self.cpu_clock = self._clock.number
        """Its CPU clock as clock_gettime(2) knows it; another's once it has been reaped."""
        self._closed = False
        self._gone = False
        """It has been reaped: its pid may be another's now."""
        self._wire_detached = False

    @property
    def is_over(self) -> bool:
        """The process has ended, whether or not anybody has reaped it."""
        poll = select.poll()
        if not self._closed:
            poll.register(self._pidfd, select.POLLIN)
        return self._closed or bool(poll.poll(0))

    def cpu_ns(self, *, exact: bool) -> int:
        """Return CPU time used, all threads. Raises ProcessLookupError when the process is gone."""
        if self._gone:
            raise ProcessLookupError(f"process {self.pid} has been reaped")
        return self._clock.read(exact=exact)

    def rss_bytes(self) -> int:
        """Return resident memory, shared pages included. Raises ProcessLookupError when gone."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb", buffering=0) as file:
                fields = file.read(128).split()
        except FileNotFoundError as error:
            raise ProcessLookupError(f"process {self.pid} is gone") from error
        return int(fields[1]) * _PAGE

    def held_bytes(self) -> int:
        """Return about what would be free if it ended, its files in memory included where known."""
        used = self.group.used_bytes() if self.group is not None else 0
        if not used:
            try:
                used = max(0, self.rss_bytes() - self.base_rss_bytes)
            except ProcessLookupError:
                return 0
        return used + _JAILED_BYTES

    def settle(self) -> None:
        """Give way to the gateway, and note the memory that comes with every instance."""
        with suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self.pid, NICE)
        self.base_rss_bytes = self.rss_bytes()

    def delayed_ns(self) -> int:
        """Return how long it has waited for a core so far."""
        return 0 if self._gone else self._clock.delayed_ns()

    def give_way(self, on: bool) -> None:
        """Let other instances go first, or stop doing so."""
        if not self._gone:
            self._clock.give_way(on)

    def enclose(self, group: Group) -> None:
        """Take over the cgroup that it is in; it is removed when the process has been reaped."""
        if self._gone:
            group.discard()
        else:
            self.group = group

    def interrupt(self) -> None:
        """Send SIGXCPU, on which the runtime raises in the tenant's frame."""
        self._signal(signal.SIGXCPU)

    def kill(self) -> None:
        """Send SIGKILL. Nothing happens when the process is gone."""
        self._signal(signal.SIGKILL)

    def detach_wire(self) -> socket.socket:
        """Hand the wire over: the caller closes it from now on."""
        self._wire_detached = True
        return self.wire

    def close(self) -> None:
        """Kill the process if it lives and close every descriptor. May be called again."""
        if self._closed:
            return
        self.kill()
        self._closed = True
        if not self._wire_detached:
            self.wire.close()
        os.close(self.log_fd)
        os.close(self._pidfd)

    def reaped(self, status: ExitStatus) -> None:
        """Take note of the end."""
        self._gone = True
        group, self.group = self.group, None
        if group is None:
            self._end(status)
        elif status.signal != signal.SIGKILL:
            group.discard()
            self._end(status)
        else:
            self._ask_why(group, status)

    def _ask_why(self, group: Group, status: ExitStatus) -> None:
        """End it with what its cgroup says."""

        def tell(asked: asyncio.Future[bool]) -> None:
            group.discard()
            out_of_memory = not asked.cancelled() and asked.result()
            self._end(msgspec.structs.replace(status, out_of_memory=out_of_memory))

        loop = asyncio.get_running_loop()
        loop.run_in_executor(group.threads, group.ran_out_of_memory).add_done_callback(tell)

    def _end(self, status: ExitStatus) -> None:
        if not self.exited.done():
            self.exited.set_result(status)

    def _signal(self, number: signal.Signals) -> None:
        if not self._closed:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
