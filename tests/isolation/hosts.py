"""Hosts on which the node has less: a program that takes rights away and then runs a command.

Run by root as ``python -m tests.isolation.hosts <host> <command> ...``.

``user``        an ordinary user without capabilities
``user-alone``  the same where no namespace is to be had
``user-sysctl`` the same by ``user.max_user_namespaces=0``
``root-alone``  root as in a container: the capabilities that those keep, and no namespaces
"""

from __future__ import annotations

import errno
import os
import platform
import sys
from pathlib import Path
from typing import Final

from sandbox.jail import credentials, seccomp, syscalls
from sandbox.jail.seccomp import JUMP_EQUAL, LD_WORD, RET_ALLOW, RETURN, Instruction
from sandbox.jail.syscall_numbers import NUMBERS

ROOT: Final = Path(__file__).parents[2]
LEVELS: Final = {
    "user": "full",
    "user-alone": "landlock",
    "user-sysctl": "landlock",
    "root-alone": "landlock",
}
"""What each comes to on a kernel that has everything."""
UID: Final = 10001
CONTAINERS_KEEP: Final = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
"""CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
MKNOD AUDIT_WRITE SETFCAP, as Docker and containerd have it."""
_LAST_CAPABILITY: Final = Path("/proc/sys/kernel/cap_last_cap")


def open_the_way(path: Path) -> None:
    """Show what others may not reach, such as an interpreter in a home directory."""
    for folder in reversed(path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            below = path.relative_to(folder)
            os.chdir(folder)
            syscalls.mount("tmpfs", str(folder), "tmpfs", 0, "size=64k,mode=755")
            (folder / below).mkdir(parents=True)
            syscalls.mount(str(below), str(path), None, syscalls.MS_BIND)
            os.chdir("/")
            return


def refuse_namespaces() -> None:
    """Have unshare and setns fail, as the filters of containers do."""
    table = NUMBERS[platform.machine()]
    denied = Instruction(RETURN, 0, 0, 0x50000 | errno.EPERM)
    program = [
        Instruction(LD_WORD, 0, 0, 0),
        Instruction(JUMP_EQUAL, 0, 1, table["unshare"]),
        denied,
        Instruction(JUMP_EQUAL, 0, 1, table["setns"]),
        denied,
        Instruction(RETURN, 0, 0, RET_ALLOW),
    ]
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.load(seccomp.assemble(program))


def forbid_user_namespaces() -> None:
    """Set user.max_user_namespaces to 0, in a user namespace so that the machine keeps its own."""
    # Or its files in /proc would still be root's.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{UID} {UID} 1")
    Path("/proc/self/gid_map").write_text(f"{UID} {UID} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Take every other capability out of the bounding set, which the next exec obeys."""
    for number in range(int(_LAST_CAPABILITY.read_text()) + 1):
        if number not in kept:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)


def confine(host: str) -> None:
    """Make this process live on such a host; complete after an exec."""
    here = Path.cwd()
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    for prefix in sorted({sys.base_prefix, sys.prefix, str(ROOT)}):
        open_the_way(Path(prefix))
    os.chdir(here)
    if host == "root-alone":
        keep_capabilities(CONTAINERS_KEEP)
    else:
        credentials.drop_bounding_set()
        credentials.become(UID)
    if host == "user-sysctl":
        forbid_user_namespaces()
    elif host != "user":
        refuse_namespaces()


def main() -> None:
    """Confine this process and go on as the command."""
    host, *command = sys.argv[1:]
    if host not in LEVELS:
        raise SystemExit(f"one of: {', '.join(LEVELS)}")
    confine(host)
    os.execv(command[0], command)  # noqa: S606 - the test's own command


if __name__ == "__main__":
    main()
