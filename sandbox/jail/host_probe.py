"""The program behind ``waypost doctor``: tries each barrier in a forked child.

Run as ``python -I -S host_probe.py <directory that holds the sandbox package>``. Nothing it does
outlives its children. Prints a JSON object: the error of each probe by name, empty when it worked.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PIPE_BYTES = 4096
_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
}
_SECCOMP_ALLOW_ALL = b"\x06\x00\x00\x00\x00\x00\xff\x7f"


def _in_child(act: Callable[[], None]) -> str:
    """Run in a forked child; return its error, empty when there was none."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except Exception as error:
            os.write(write_end, (str(error) or repr(error)).encode()[:_PIPE_BYTES])
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    return said or (f"the probe ended with status {status}" if status else "")


def _demand(*names: str) -> None:
    """Raise unless this process has every one of these capabilities."""
    with open("/proc/self/status", encoding="ascii") as file:
        effective = next(int(line[7:], 16) for line in file if line.startswith("CapEff:"))
    lacking = [name for name in names if not effective >> _CAPABILITIES[name] & 1]
    if lacking:
        raise OSError(f"the node lacks {', '.join(lacking)}")


def _own_ids(credentials: Any) -> None:
    _demand("CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP")
    credentials.become(credentials.FIRST_UID)


def _ask_landlock(syscalls: Any, landlock: Any) -> dict[str, Callable[[], None]]:
    def offered() -> None:
        if syscalls.landlock_abi() < 1:
            raise OSError("the kernel does not offer Landlock, or it is not enabled at boot (lsm=)")

    def scopes() -> None:
        if (abi := syscalls.landlock_abi()) < landlock.SCOPES_ABI:
            raise OSError(f"the kernel offers ABI {abi}, {landlock.SCOPES_ABI} is needed")

    return {"landlock": offered, "scopes": scopes}


def _probes(
    syscalls: Any, namespaces: Any, credentials: Any, landlock: Any
) -> dict[str, Callable[[], None]]:
    root = os.geteuid() == 0

    def enter() -> None:
        if not root:
            namespaces.enter_user_namespace()

    def leave(flag: int) -> Callable[[], None]:
        def act() -> None:
            enter()
            syscalls.unshare(flag)

        return act

    def mount() -> None:
        enter()
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("tmpfs", "/sys", "tmpfs", syscalls.MS_NOSUID, "size=4k")

    def seccomp() -> None:
        credentials.forbid_new_privileges()
        syscalls.load_seccomp(_SECCOMP_ALLOW_ALL)

    def nice() -> None:
        os.setpgid(0, 0)
        os.setpriority(os.PRIO_PGRP, 0, 19)
        os.setpriority(os.PRIO_PGRP, 0, 18)

    return {
        "user": enter,
        "pid": leave(syscalls.CLONE_NEWPID),
        "mount": mount,
        "network": leave(syscalls.CLONE_NEWNET),
        "ipc": leave(syscalls.CLONE_NEWIPC),
        "uts": leave(syscalls.CLONE_NEWUTS),
        "cgroup": leave(syscalls.CLONE_NEWCGROUP),
        "seccomp": seccomp,
        "ids": lambda: _own_ids(credentials),
        "directories": lambda: _demand("CAP_CHOWN", "CAP_DAC_OVERRIDE"),
        **_ask_landlock(syscalls, landlock),
        "nice": nice,
    }


def main() -> None:
    """Try every barrier and print the result."""
    package = types.ModuleType("sandbox")
    package.__path__ = [str(Path(sys.argv[1]) / "sandbox")]
    sys.modules["sandbox"] = package
    names = ("syscalls", "namespaces", "credentials", "landlock")
    modules = [importlib.import_module(f"sandbox.jail.{name}") for name in names]
    results = {name: _in_child(act) for name, act in _probes(*modules).items()}
    os.write(1, json.dumps(results).encode())


if __name__ == "__main__":
    main()
