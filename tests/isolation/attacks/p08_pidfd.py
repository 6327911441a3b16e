"""Reach other processes by descriptor."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *longs)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


def attempt():
    done = []
    for pid in (1, 2, 3):
        result, _ = call(434, pid, 0)  # pidfd_open
        if result >= 0:
            done.append(pid)
        if call(424, 3, 9, 0, 0)[0] == 0:  # pidfd_send_signal
            done.append("signal")
    return {"success": bool(done), "detail": done}
