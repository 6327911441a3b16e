"""Namespaces: what an instance can see of the machine.

Stops: seeing or signalling foreign processes, reaching any network (there is no interface, not even
loopback), SysV and POSIX IPC of others, the host's mounts, host name and cgroups. Does not stop:
AF_VSOCK, which no namespace covers (seccomp does), and attacks on the kernel itself.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Final

from sandbox.jail import syscalls

OUTER: Final = (
    syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
"""What the zygote leaves behind, once for all of its instances."""
INNER: Final = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC
"""What each instance leaves behind on top, beside its own pid namespace."""
MAPPED_ID: Final = 65534
"""The one user and group id of a user namespace: nobody."""
_COUNTED_APART: Final = (5, 14)


def enter_user_namespace() -> None:
    """Become nobody in a new user namespace, with all capabilities inside it and none outside."""
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    maps = {
        "setgroups": "deny",
        "uid_map": f"{MAPPED_ID} {uid} 1",
        "gid_map": f"{MAPPED_ID} {gid} 1",
    }
    for name, line in maps.items():
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def enter_outer() -> None:
    """Leave the host's namespaces. The next forked child is the new pid namespace's pid 1."""
    syscalls.unshare(OUTER)
    socket.sethostname("worker")


def enter_inner() -> None:
    """Leave the mount and IPC namespaces shared with the other instances."""
    syscalls.unshare(INNER)


def counts_threads_apart() -> bool:
    """Whether the kernel counts processes for each user namespace apart (Linux 5.14)."""
    numbers = re.findall(r"\d+", os.uname().release)
    return (int(numbers[0]), int(numbers[1])) >= _COUNTED_APART


def leave_shared_users() -> None:
    """Enter a user namespace of its own, in which RLIMIT_NPROC counts this instance alone.

    Nothing is mapped: outside the process stays who it was, inside it is nobody.
    """
    syscalls.unshare(syscalls.CLONE_NEWUSER)


class PidNamespaces:
    """Gives each forked child a pid namespace of its own, by the plain fork of the interpreter."""

    def __init__(self) -> None:
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self) -> int:
        """Fork a child that is pid 1 of a new pid namespace; return as os.fork does."""
        syscalls.unshare(syscalls.CLONE_NEWPID)
        child = -1
        try:
            child = os.fork()
        finally:
            if child != 0:
                syscalls.setns(self._own, syscalls.CLONE_NEWPID)
        return child
