"""A few attacks, run in a throw-away instance at every start of a zygote.

They would succeed if a barrier were silently missing; they touch nothing where the barriers hold.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from sandbox.errors import JailError

_VSOCK: Final = 40


def _open_foreign_file() -> None:
    os.close(os.open("/etc/passwd", os.O_RDONLY))


def _list_processes() -> None:
    os.listdir("/proc")


def _write_runtime() -> None:
    os.close(os.open("/usr/waypost-probe", os.O_CREAT | os.O_WRONLY, 0o600))


def _change_bundle(app_dir: str) -> None:
    os.close(os.open(f"{app_dir}/waypost-probe", os.O_CREAT | os.O_WRONLY, 0o600))


def _signal_zygote() -> None:
    # Where this is pid 1 of its own namespace the parent has no number.
    os.kill(os.getppid() or os.getpid() + 1, 0)


def _change_modes() -> None:
    os.chmod("/usr", 0o755)  # noqa: S103 - it must fail


def _open_network() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def _open_vsock() -> None:
    socket.socket(_VSOCK, socket.SOCK_STREAM).close()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _execute() -> None:
    os.execve("/bin/sh", ["sh", "-c", "exit 0"], {})  # noqa: S606 - it must fail


_PROBES: Final[tuple[tuple[str, Callable[[], None]], ...]] = (
    ("foreign file", _open_foreign_file),
    ("process list", _list_processes),
    ("write to the runtime", _write_runtime),
    ("signal", _signal_zygote),
    ("file modes", _change_modes),
    ("network socket", _open_network),
    ("vsock socket", _open_vsock),
    ("fork", _fork),
    ("exec", _execute),
)
_DENIALS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOENT, errno.EROFS})


def run(app_dir: str) -> None:
    """Try them all. Raises JailError for the first one that is not denied."""
    for name, probe in (*_PROBES, ("write to the bundle", lambda: _change_bundle(app_dir))):
        try:
            probe()
        except OSError as error:
            if error.errno in _DENIALS:
                continue
            raise JailError(f"probe: {name}", f"unexpected error: {error}") from error
        raise JailError(f"probe: {name}", "it was not denied")
    if os.environ:
        raise JailError("probe: environment", "it is not empty")
