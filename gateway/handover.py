"""Between a node and its manager: what is handed over, and who tells whom when."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import NoReturn

import msgspec

from gateway import manager
from gateway.processes.lineage import Lineage
from gateway.sockets import Sockets, adopt

_PR_SET_PDEATHSIG = 1


class Handover(msgspec.Struct, frozen=True):
    """What a manager gave to this process."""

    sockets: Sockets
    lineage: Lineage

    @property
    def first(self) -> bool:
        """Whether this is the first node of its manager."""
        return self.lineage.generation == 1

    def ready(self) -> None:
        """Tell the manager that this node serves."""
        os.kill(self.lineage.manager_pid, signal.SIGUSR1)


def received(environment: MutableMapping[str, str]) -> Handover | None:
    """What a manager handed over; None in a process that has none. To be called once.

    From here on this process ends with its manager, however that ends.
    """
    given = environment.pop(manager.VARIABLE, None)
    if given is None:
        return None
    manager_pid, tenants, api, generation, *word = (int(part) for part in given.split(":"))
    die_with(manager_pid)
    sockets = Sockets(adopt(tenants), adopt(api))
    # A manager that is older than this code keeps none: followers then end with their leader.
    serving = word[0] if word else os.memfd_create("waypost-serving", os.MFD_CLOEXEC)
    os.set_inheritable(serving, False)
    return Handover(sockets, Lineage(manager_pid, generation, serving))


def die_with(parent_pid: int | None) -> None:
    """Have this process end with its parent, and take what signals come; None: no more.

    Raises SystemExit when the parent is gone.
    """
    number = signal.SIGKILL if parent_pid is not None else 0
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if parent_pid is None:
        return
    if os.getppid() != parent_pid:
        # It was gone before this process asked to be told.
        raise SystemExit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def become_manager(sockets: Sockets) -> NoReturn:
    """Turn this process into a manager that starts this very command as its nodes."""
    own = ",".join(str(sock.fileno()) for sock in sockets.own)
    descriptors = []
    for sock in (sockets.tenants, sockets.api):
        sock.set_inheritable(True)
        descriptors.append(str(sock.detach()))
    command = [sys.executable, *sys.orig_argv[1:]]
    program = [sys.executable, "-I", "-S", str(Path(manager.__file__))]
    sys.stdout.flush()
    os.execv(sys.executable, [*program, *descriptors, own, "--", *command])  # noqa: S606
