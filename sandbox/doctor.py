"""Which barriers this host offers, what follows, and how to get the missing ones.

What they add up to: :mod:`sandbox.ladder`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from sandbox import ladder
from sandbox.jail.syscall_numbers import NUMBERS
from sandbox.ladder import Barrier
from sandbox.supervisor import cgroups, runtime_files

LANDLOCK: Final = "Landlock"
SCOPES: Final = "Landlock scopes"
CGROUP: Final = "cgroup"
LANDLOCK_FIX: Final = "run Linux 5.13 or newer with `landlock` in the `lsm=` boot parameter"
SCOPES_FIX: Final = "run Linux 6.12 or newer with `landlock` in the `lsm=` boot parameter"
_NAMESPACED: Final = (ladder.NAMESPACES, ladder.FULL)
_PROGRAM: Final = Path(__file__).parent / "jail" / "host_probe.py"
_TIMEOUT_SECONDS: Final = 30
_SLICE_TOGGLE: Final = (6, 12)
_DOCKER_FIX: Final = (
    "in a container: --security-opt seccomp=docs/examples/seccomp-oci.json --security-opt"
    " apparmor=unconfined, as docs/security.md says (also --cap-add SYS_ADMIN when running as root)"
)


def examine_host() -> list[Barrier]:
    """Try every barrier, with no lasting effect. Blocks for about 0.1 s."""
    errors = _probe()
    return [
        _architecture(),
        *_user(errors),
        *_namespaces(errors),
        _needed(
            "seccomp",
            errors["seccomp"],
            "every system call of the kernel would be open to tenants",
            "run a kernel with CONFIG_SECCOMP_FILTER",
        ),
        *_landlock(errors),
        _exact_cpu(errors["nice"]),
        _cgroup(),
    ]


def _probe() -> dict[str, str]:
    command = [sys.executable, "-I", "-S", str(_PROGRAM), str(Path(__file__).parent.parent)]
    done = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, env={}, timeout=_TIMEOUT_SECONDS, check=True
    )
    results: dict[str, str] = json.loads(done.stdout)
    return results


def _needed(
    name: str, error: str, consequence: str, fix: str, levels: tuple[str, ...] = ladder.EVERY
) -> Barrier:
    return Barrier(name, not error, levels, error or "works", consequence, fix if error else "")


def _architecture() -> Barrier:
    machine = platform.machine()
    known = machine in NUMBERS
    return Barrier(
        "architecture",
        known and sys.platform == "linux",
        ladder.EVERY,
        f"{machine}, {platform.system()} {platform.release()}",
        "there is no system call policy for it",
        "" if known else f"run on Linux on one of {', '.join(NUMBERS)}",
    )


def _user(errors: dict[str, str]) -> list[Barrier]:
    if os.geteuid() != 0:
        return [
            _needed(
                "user namespaces",
                errors["user"],
                "an ordinary user cannot make the other namespaces",
                _user_namespace_fix(),
                _NAMESPACED,
            )
        ]
    return [
        _needed(
            "user ids",
            errors["ids"],
            "instances would be root",
            "leave the node CAP_SETUID, CAP_SETGID, CAP_SETPCAP and CAP_KILL, and map the ids from"
            " 200000 on; or run it as an ordinary user",
        ),
        _needed(
            "private directories",
            errors["directories"] or runtime_files.closed_to_others(),
            "without namespaces other user ids could not be shown the runtime and their bundle",
            "leave the node CAP_CHOWN and CAP_DAC_OVERRIDE, and install Python and Waypost where"
            " every user may read them; or run it as an ordinary user",
            (ladder.LANDLOCK,),
        ),
    ]


def _landlock(errors: dict[str, str]) -> list[Barrier]:
    offered = errors["landlock"]
    scopes = offered or errors["scopes"]
    return [
        _needed(
            LANDLOCK,
            offered,
            "files are protected by mounts alone; level `namespaces`",
            LANDLOCK_FIX,
            (ladder.FULL, ladder.LANDLOCK),
        ),
        _needed(
            SCOPES,
            scopes,
            "nothing but namespaces and seccomp keeps signals and abstract sockets inside;"
            " no level without namespaces",
            SCOPES_FIX,
            (ladder.LANDLOCK,),
        ),
    ]


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
        _needed(f"{name} namespace", errors[name], consequence, fix, _NAMESPACED)
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
        levels=(),
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
        levels=(),
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
