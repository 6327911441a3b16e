"""The seccomp policy for hosts without namespaces: what those hide, it must not let be named.

Stops, beyond the policy: naming any process but itself in those calls that take a process id or a
process's clock; changing modes and times of files, which Landlock does not ask about and a shared
user id would allow. Does not stop: asking whether a path or, by a directory of /proc, a process
exists; reading the host's name.

The bundle is written under this policy, so the calls that end the writing are in it. The second
filter takes them away before any of the tenant's code runs.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

from sandbox.jail.seccomp import (
    AUDIT_ARCH,
    JUMP_EQUAL,
    LD_WORD,
    RET_ALLOW,
    RET_EPERM,
    RET_KILL_PROCESS,
    RETURN,
    Code,
    Instruction,
)
from sandbox.jail.seccomp_policy import POLICY, Argument, Group, Policy
from sandbox.jail.syscall_numbers import NUMBERS

_INT: Final = 0xFFFFFFFF
_OWN_PID: Final = 0x7EAD0001
"""Stands for the process's own id, which is known after the fork."""
_SET_MODE_FILTER: Final = 1
_FUTEX_COMMAND: Final = 0x7F
_FUTEXES: Final = (0, 1, 3, 4, 5, 9, 10)
"""WAIT WAKE REQUEUE CMP_REQUEUE WAKE_OP WAIT_BITSET WAKE_BITSET: none that names its owner."""
_SOL_SOCKET: Final = 1
_SOCKET_OPTIONS: Final = (3, 4, 7, 8, 30, 38, 39)
"""SO_TYPE SO_ERROR SO_SNDBUF SO_RCVBUF SO_ACCEPTCONN SO_PROTOCOL SO_DOMAIN"""
_ITSELF: Final = (Argument(0, (0, _OWN_PID), _INT),)

_INSTEAD: Final = (
    Group("the clocks of the machine and of itself, no other process's",
          "clock_gettime clock_getres clock_nanosleep", (Argument(0, (0,), 0xFFFFFFF0),)),
    Group("locks that do not name their owner by its id", "futex",
          (Argument(1, _FUTEXES, _FUTEX_COMMAND),)),
    Group("about itself", "getpgid getsid sched_getaffinity sched_getparam sched_getscheduler",
          _ITSELF),
    Group("robust locks of this thread", "get_robust_list", (Argument(0, (0,), _INT),)),
    Group("what kind of socket it is, not whose process is at the other end", "getsockopt",
          (Argument(1, (_SOL_SOCKET,), _INT), Argument(2, _SOCKET_OPTIONS, _INT))),
    Group("abort", "tgkill", (Argument(0, (_OWN_PID,), _INT),)),
)  # fmt: skip
_NEVER: Final = "chmod fchmod fchmodat fchmodat2"
"""By user id, whatever Landlock says."""

UNTIL_SEALED: Final = (
    Group("times of the bundle's files", "utimensat"),
    Group("the rest of the confinement", "landlock_restrict_self", (Argument(1, (0,), _INT),)),
    Group("the second filter", "seccomp",
          (Argument(0, (_SET_MODE_FILTER,), _INT), Argument(1, (0,), _INT))),
)  # fmt: skip


def _without(groups: tuple[Group, ...], names: set[str]) -> tuple[Group, ...]:
    kept = (" ".join(n for n in group.names.split() if n not in names) for group in groups)
    return tuple(
        dataclasses.replace(group, names=names_kept)
        for group, names_kept in zip(groups, kept, strict=True)
        if names_kept
    )


def _derive(policy: Policy) -> Policy:
    changed = {name for group in (*_INSTEAD, *UNTIL_SEALED) for name in group.names.split()}
    return dataclasses.replace(
        policy,
        kill=_without(policy.kill, changed),
        allow=(*_without(policy.allow, changed | set(_NEVER.split())), *_INSTEAD, *UNTIL_SEALED),
    )


ALONE: Final = _derive(POLICY)
"""In force from the jail's closing on."""


def bake(program: bytes, pid: int) -> bytes:
    """Put the process's own id into a program that was assembled from this policy."""
    mark, own = struct.pack("=I", _OWN_PID), struct.pack("=I", pid)
    parts = [program[i : i + 8] for i in range(0, len(program), 8)]
    return b"".join(part[:4] + own if part[4:] == mark else part for part in parts)


def compile_seal(machine: str) -> Code:
    """Compile the second filter: what may no longer be done, and all else as the first says."""
    table = NUMBERS[machine]
    refused = {
        table["utimensat"]: RET_EPERM,
        table["landlock_restrict_self"]: RET_EPERM,
        table["seccomp"]: RET_KILL_PROCESS,
    }
    program = [
        Instruction(LD_WORD, 0, 0, 4),
        Instruction(JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        Instruction(RETURN, 0, 0, RET_KILL_PROCESS),
        Instruction(LD_WORD, 0, 0, 0),
    ]
    for number, action in refused.items():
        program += [
            Instruction(JUMP_EQUAL, 0, 1, number),
            Instruction(RETURN, 0, 0, action),
        ]
    return [*program, Instruction(RETURN, 0, 0, RET_ALLOW)]
