"""Kernel keyrings."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *longs)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


CALLS = (("keyctl", 250, (0, -3, 0)),)


def attempt():
    done = []
    for name, number, arguments in CALLS:
        result, _ = call(number, *arguments)
        if result >= 0:
            done.append(name)
    return {"success": bool(done), "detail": done}
