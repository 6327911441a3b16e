"""Looking at an instance from outside, before it is sent any code.

Source of the facts: ``/proc/<pid>/status``, proc_pid_status(5).
"""

from __future__ import annotations

import os
from typing import Final

from sandbox.errors import JailError

_NAMESPACES: Final = ("pid", "mnt", "net", "ipc", "uts", "cgroup")
_SECCOMP_FILTER: Final = "2"
_PID_DEPTH: Final = 3
"""Gateway, zygote, instance; more when the gateway itself is in a container."""
_CAPABILITY_SETS: Final = frozenset({"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})


def read_status(pid: int) -> dict[str, str]:
    """Return the fields of a process's status by name."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def check_status(status: dict[str, str], *, own_uid: bool, namespaces: bool = True) -> None:
    """Raise JailError for the first barrier that does not hold.

    ``own_uid`` says that the instance must have a user id of its own, not the gateway's;
    ``namespaces`` that it must be in namespaces of its own.
    """
    facts = {
        "seccomp": status.get("Seccomp") == _SECCOMP_FILTER,
        "no_new_privs": status.get("NoNewPrivs") == "1",
        "one thread": status.get("Threads") == "1",
        "pid namespace": not namespaces or _is_inner_init(status.get("NSpid", "")),
        "user id": not own_uid or _is_own(status.get("Uid", "0")),
        "group id": not own_uid or _is_own(status.get("Gid", "0")),
    }
    # Who has no capability cannot empty the bounding set; no_new_privs keeps it from mattering.
    sets = _CAPABILITY_SETS if own_uid or namespaces else _CAPABILITY_SETS - {"CapBnd"}
    facts |= {name: _is_empty(status.get(name, "1")) for name in sorted(sets)}
    for name, holds in facts.items():
        if not holds:
            raise JailError(f"verify {name}", "it does not hold, seen from outside")


def verify(pid: int, *, own_uid: bool, namespaces: bool = True) -> None:
    """Check status and namespaces of a process. Raises JailError when a barrier does not hold."""
    try:
        check_status(read_status(pid), own_uid=own_uid, namespaces=namespaces)
    except OSError as error:
        raise JailError("verify", f"process {pid} cannot be inspected: {error}") from error
    if own_uid and namespaces:
        _check_namespaces(pid)


def _check_namespaces(pid: int) -> None:
    for name in _NAMESPACES:
        try:
            theirs = os.readlink(f"/proc/{pid}/ns/{name}")
        except OSError as error:
            raise JailError(f"verify {name} namespace", str(error)) from error
        if theirs == os.readlink(f"/proc/self/ns/{name}"):
            raise JailError(f"verify {name} namespace", "it is the gateway's own")


def _is_inner_init(pids: str) -> bool:
    numbers = pids.split()
    return len(numbers) >= _PID_DEPTH and numbers[-1] == "1"


def _is_own(ids: str) -> bool:
    return all(number != "0" and int(number) != os.getuid() for number in ids.split())


def _is_empty(mask: str) -> bool:
    return int(mask, 16) == 0
