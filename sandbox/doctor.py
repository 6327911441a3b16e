"""Which barriers this host offers, what follows, and how to get the missing ones.

The ladder of levels:

``full``        namespaces, Landlock and seccomp
``namespaces``  namespaces and seccomp
``none``        a barrier that every level needs is missing: untrusted code does not run
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.jail.syscall_numbers import NUMBERS
from sandbox.supervisor import cgroups

LEVEL_FULL: Final = "full"
LEVEL_NAMESPACES: Final = "namespaces"
LEVEL_NONE: Final = "none"

LANDLOCK: Final = "Landlock"
CGROUP: Final = "cgroup"
LANDLOCK_FIX: Final = "run Linux 5.13 or newer with `landlock` in the `lsm=` boot parameter"
_PROGRAM: Final = Path(__file__).parent / "jail" / "host_probe.py"
_TIMEOUT_SECONDS: Final = 30
_SLICE_TOGGLE: Final = (6, 12)
_DOCKER_FIX: Final = (
    "in a container: --security-opt seccomp=docs/examples/seccomp-oci.json --security-opt"
    " apparmor=unconfined, as docs/security.md says (also --cap-add SYS_ADMIN when running as root)"
)


@dataclass(frozen=True, slots=True)
class Barrier:
    """One thing that stands, or does not, between tenant code and the host."""

    name: str
    available: bool
    required: bool
    """True: without it no untrusted code runs at any level."""
    detail: str
    """What was seen."""
    consequence: str
    """What follows when it is missing."""
    fix: str
    """What the operator does about it; empty when there is nothing to do."""


def examine_host() -> list[Barrier]:
    """Try every barrier, with no lasting effect. Blocks for about 0.1 s."""
    errors = _probe()
    return [
        _architecture(),
        _user(errors["user"]),
        *_namespaces(errors),
        _required(
            "seccomp",
            errors["seccomp"],
            "every system call of the kernel would be open to tenants",
            "run a kernel with CONFIG_SECCOMP_FILTER",
        ),
        Barrier(
            LANDLOCK,
            not errors["landlock"],
            required=False,
            detail=errors["landlock"] or "offered by the kernel",
            consequence="files are protected by mounts alone; level `namespaces`",
            fix=LANDLOCK_FIX if errors["landlock"] else "",
        ),
        _exact_cpu(errors["nice"]),
        _cgroup(),
    ]


def level(barriers: Sequence[Barrier]) -> str:
    """Return the highest rung of the ladder that these barriers make."""
    if any(barrier.required and not barrier.available for barrier in barriers):
        return LEVEL_NONE
    landlock = any(barrier.name == LANDLOCK and barrier.available for barrier in barriers)
    return LEVEL_FULL if landlock else LEVEL_NAMESPACES


def _probe() -> dict[str, str]:
    command = [sys.executable, "-I", "-S", str(_PROGRAM), str(Path(__file__).parent.parent)]
    done = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, env={}, timeout=_TIMEOUT_SECONDS, check=True
    )
    results: dict[str, str] = json.loads(done.stdout)
    return results


def _required(name: str, error: str, consequence: str, fix: str) -> Barrier:
    return Barrier(name, not error, True, error or "works", consequence, "" if not error else fix)


def _architecture() -> Barrier:
    machine = platform.machine()
    known = machine in NUMBERS
    return Barrier(
        "architecture",
        known and sys.platform == "linux",
        True,
        f"{machine}, {platform.system()} {platform.release()}",
        "there is no system call policy for it",
        "" if known else f"run on Linux on one of {', '.join(NUMBERS)}",
    )


def _user(error: str) -> Barrier:
    if os.geteuid() == 0:
        return Barrier(
            "user ids", True, True, "runs as root; each instance gets a user id of its own", "", ""
        )
    return _required(
        "user namespaces",
        error,
        "an ordinary user cannot make the other namespaces",
        _user_namespace_fix(),
    )


def _user_namespace_fix() -> str:
    for name, forbidden, fix in (
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        if _read(f"/proc/sys/{name}") == forbidden:
            return fix
    return _container_fix("run a kernel with CONFIG_USER_NS")


def _container_fix(otherwise: str) -> str:
    inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    return _DOCKER_FIX if inside else f"{otherwise}; {_DOCKER_FIX}"


def _namespaces(errors: dict[str, str]) -> list[Barrier]:
    consequences = {
        "pid": "tenants would see and signal foreign processes",
        "mount": "tenants would see the host's files",
        "network": "tenants would reach the network",
        "ipc": "tenants would share System V and POSIX IPC",
        "uts": "tenants would see the host's name",
        "cgroup": "tenants would see the host's cgroups",
    }
    fix = _container_fix("give the process CAP_SYS_ADMIN or run it as an ordinary user")
    return [
        _required(f"{name} namespace", errors[name], consequence, fix)
        for name, consequence in consequences.items()
    ]


def _kernel_version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)


def _exact_cpu(nice_error: str) -> Barrier:
    if not nice_error:
        detail, available = "by nice value", True
    elif os.geteuid() != 0 and _kernel_version() >= _SLICE_TOGGLE:
        detail, available = "by time slice", True
    else:
        detail, available = f"not possible: {nice_error}", False
    return Barrier(
        "exact CPU clock",
        available,
        required=False,
        detail=detail,
        consequence="CPU limits overshoot by up to one scheduler tick (1 to 4 ms)",
        fix="" if available else "give the process CAP_SYS_NICE, or run Linux 6.12 or newer",
    )


def _cgroup() -> Barrier:
    try:
        detail, fix = str(cgroups.find()), ""
    except cgroups.CgroupsUnavailable as error:
        detail, fix = error.why, error.fix
    return Barrier(
        CGROUP,
        not fix,
        required=False,
        detail=detail,
        consequence="memory is limited by address space and sampling, not by the kernel's account:"
        " pages of /tmp and of the kernel count against limits of their own",
        fix=fix,
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
