"""Holds the listening sockets while nodes come and go, and starts a new one when it is asked to.

Run as ``python -I -S manager.py TENANTS_FD API_FD OWN_FDS -- COMMAND...``, where the sockets that
nobody else holds are named once more, divided by commas. It loads nothing of the gateway:
code that is upgraded below it takes effect with the next node. A node tells that it serves with
SIGUSR1; SIGUSR2 asks it to take no new connections and to end once the old ones are served.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

VARIABLE: Final = "WAYPOST_HANDOVER"
"""``MANAGER_PID:TENANTS_FD:API_FD:GENERATION:SERVING_FD``, in the environment of a node."""
START_SECONDS: Final = 120.0
"""What a node may take to serve; one that a running node waits for is given up after that."""
LEAST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A node that served for so long and died is started again at once."""

_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_AWAITED: Final = (*_STOP, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Manager:
    """One node that serves, at most one that starts, and those that serve their last requests."""

    def __init__(
        self, descriptors: tuple[int, int], command: list[str], own: tuple[int, ...] = ()
    ) -> None:
        """``own``: descriptors that nobody waits on but the nodes of this manager."""
        self._own = own
        self._serving_word = os.memfd_create("waypost-serving", os.MFD_CLOEXEC)
        """Memory with the generation that serves: a follower without a leader looks there."""
        self._descriptors = (*descriptors, self._serving_word)
        self._command = command
        self._serving: subprocess.Popen[bytes] | None = None
        self._starting: subprocess.Popen[bytes] | None = None
        self._retiring: set[subprocess.Popen[bytes]] = set()
        self._generation = 0
        self._deadline = 0.0
        self._start_at: float | None = None
        """When a node that died is to be replaced."""
        self._pause = LEAST_PAUSE
        self._since = 0.0
        self._stopping = False
        self._status: int | None = None
        self._in_terminal = os.isatty(0)
        """SIGHUP says that the terminal is gone; elsewhere, that a new node is wanted."""

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until the first node could not start; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        self._start()
        while self._status is None:
            told = signal.sigtimedwait(_AWAITED, self._patience())
            self._reap()
            if told is not None:
                self._act(told)
            self._look_at_the_clock()
        return self._status

    def _act(self, told: signal.struct_siginfo) -> None:
        if told.si_signo in _STOP:
            self._stop()
        elif told.si_signo == signal.SIGUSR1:
            self._ready(told.si_pid)
        elif told.si_signo == signal.SIGHUP and self._in_terminal:
            self._stop()
        elif told.si_signo == signal.SIGHUP and not self._stopping and self._starting is None:
            _say("a new node starts; the old one serves until it is ready")
            self._start()

    # Beginning

    def _start(self) -> None:
        self._generation += 1
        self._start_at = None
        self._deadline = time.monotonic() + START_SECONDS
        tenants, api, word = self._descriptors
        handover = f"{os.getpid()}:{tenants}:{api}:{self._generation}:{word}"
        self._starting = subprocess.Popen(  # noqa: S603 — the command that started this program
            self._command,
            env={**os.environ, VARIABLE: handover},
            pass_fds=self._descriptors,
            # A signal of the terminal reaches this process, which passes it on.
            process_group=0,
        )

    def _ready(self, pid: int) -> None:
        if self._starting is None or pid != self._starting.pid:
            return
        old, self._serving, self._starting = self._serving, self._starting, None
        self._since = time.monotonic()
        os.pwrite(self._serving_word, self._generation.to_bytes(8, "little"), 0)
        if old is not None:
            _say("the new node serves; the old one ends with its last request")
            old.send_signal(signal.SIGUSR2)
            self._retiring.add(old)

    # Ending

    def _stop(self) -> None:
        self._stopping = True
        self._start_at = None
        for node in self._nodes():
            node.terminate()
        for descriptor in self._own:
            _refuse_connections(descriptor)
        if not self._nodes():
            self._status = 0

    def _reap(self) -> None:
        for node in self._nodes():
            if node.poll() is not None:
                self._ended(node, node.returncode)

    def _ended(self, node: subprocess.Popen[bytes], status: int) -> None:
        if node in self._retiring:
            self._retiring.discard(node)
        elif node is self._starting:
            self._starting = None
            self._failed_to_start(status)
        else:
            self._serving = None
            self._died(status)
        if self._stopping and not self._nodes():
            self._status = status if status >= 0 else 128 - status

    def _failed_to_start(self, status: int) -> None:
        if self._stopping:
            return
        if self._serving is not None:
            _say(f"the new node did not start ({_cause(status)}); the old one goes on")
        elif self._generation == 1:
            self._status = status if status >= 0 else 128 - status
        else:
            self._start_later(status)

    def _died(self, status: int) -> None:
        if self._stopping or self._starting is not None:
            return
        if time.monotonic() - self._since > STEADY_SECONDS:
            self._pause = LEAST_PAUSE
        self._start_later(status)

    def _start_later(self, status: int) -> None:
        _say(f"the node ended ({_cause(status)}); another starts in {self._pause:g} s")
        self._start_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    # Time

    def _patience(self) -> float:
        ends = [self._start_at] if self._start_at is not None else []
        if self._starting is not None:
            ends.append(self._deadline)
        return max(0.0, min(ends, default=time.monotonic() + 3600) - time.monotonic())

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._start_at is not None and now >= self._start_at:
            self._start()
        if self._starting is not None and now >= self._deadline:
            _say(f"the new node did not serve within {START_SECONDS:g} s")
            self._starting.kill()
            self._deadline = now + START_SECONDS

    def _nodes(self) -> list[subprocess.Popen[bytes]]:
        found = [self._serving, self._starting, *self._retiring]
        return [node for node in found if node is not None]


def _refuse_connections(descriptor: int) -> None:
    """Have the kernel refuse who comes: it would let them wait until the last request is served,
    and then tell them nothing."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
        sock.shutdown(socket.SHUT_RD)


def _cause(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {-status}"


def _say(what: str) -> None:
    # One write: lines of the nodes go to the same descriptor.
    os.write(2, f"waypost: {what}\n".encode())


def main(arguments: list[str]) -> int:
    """Run a manager as the command line says."""
    tenants, api, own, _, *command = arguments
    held = tuple(int(descriptor) for descriptor in own.split(",") if descriptor)
    return Manager((int(tenants), int(api)), command, held).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
