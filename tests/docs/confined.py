"""Starts a supervisor confined as the example unit or the example pod confine it.

Run by root as ``python confined.py oci|systemd``, with the system calls that the OCI profile allows
as a JSON array on standard input. Prints a JSON object with the level that was reached.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from pathlib import Path
from typing import Final

from sandbox import Supervisor, SupervisorSettings
from sandbox.jail import credentials, seccomp, syscalls
from sandbox.jail.rlimits import THREADS
from sandbox.jail.seccomp_policy import Argument, Group, Policy
from sandbox.jail.syscall_numbers import NUMBERS
from tests.isolation.hostile import run
from tests.isolation.hosts import open_the_way
from tests.isolation.test_threads import HOLD_THREADS

ROOT: Final = Path(__file__).parents[2]
UID: Final = 10001
NODES: Final = ("null", "zero", "full", "random", "urandom")
KEPT_WRITABLE: Final = ("/proc", "/sys", "/dev")
FAMILIES: Final = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""


def protect_system() -> None:
    """ProtectSystem=strict: every mount but the kernel's own is read-only."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        target = line.split()[1]
        if not target.startswith(KEPT_WRITABLE):
            flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY
            syscalls.mount(None, target, None, flags)


def private_devices() -> None:
    """PrivateDevices=yes: a /dev of a few harmless nodes."""
    # The working directory stays the covered one: sources are looked up there.
    os.chdir("/dev")
    syscalls.mount("tmpfs", "/dev", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "size=64k")
    for name in NODES:
        Path("/dev", name).touch()
        syscalls.mount(name, f"/dev/{name}", None, syscalls.MS_BIND)
    os.chdir("/")


def filter_of(allowed: list[str]) -> bytes:
    """The container's filter, or what the unit's Restrict* lines make."""
    if allowed:
        groups: tuple[Group, ...] = (Group("profile", " ".join(allowed)),)
    else:
        rest = set(NUMBERS[platform.machine()]) - {"socket", "personality"}
        groups = (
            Group("everything", " ".join(sorted(rest))),
            Group("RestrictAddressFamilies", "socket", (Argument(0, FAMILIES),)),
        )
    missing = (Group("fall back", "clone3"),) if allowed else ()
    policy = Policy(kill=(), missing=missing, pretended=(), allow=groups)
    return seccomp.assemble(seccomp.compile_policy(platform.machine(), policy))


def give_up_privilege() -> None:
    """An ordinary user without any capability, now or ever."""
    credentials.drop_bounding_set()
    credentials.become(UID)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


async def start() -> dict[str, object]:
    """Start a supervisor, and an instance that must pass every look from outside."""
    supervisor = Supervisor(SupervisorSettings(minimum_level="full"))
    try:
        await supervisor.start()
        threads = await run(supervisor, HOLD_THREADS)
        return {"level": supervisor.level, "uid": os.getuid(), "threads": threads <= THREADS}
    finally:
        await supervisor.close()


def main() -> None:
    """Confine this process, then start."""
    allowed: list[str] = json.load(sys.stdin)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    if sys.argv[1] == "systemd":
        private_devices()
    for prefix in {sys.base_prefix, sys.prefix, str(ROOT)}:
        open_the_way(Path(prefix))
    protect_system()
    program = filter_of(allowed)
    give_up_privilege()
    seccomp.load(program)
    sys.stdout.write(json.dumps(asyncio.run(start())))


if __name__ == "__main__":
    main()
