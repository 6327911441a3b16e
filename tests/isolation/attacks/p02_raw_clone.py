"""Make a process by every call that can."""

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
    made = []
    for name, number, arguments in (
        ("clone", 56, (17, 0, 0, 0, 0)),
        ("clone, upper half set", 56, ((1 << 32) | 17, 0, 0, 0, 0)),
        ("clone, a thread in a new pid namespace", 56, (0x3D0F00 | 0x20000000, 0, 0, 0, 0)),
        ("clone, memory shared", 56, (0x100 | 17, 0, 0, 0, 0)),
        ("clone3", 435, (0, 0)),
    ):
        result, _ = call(number, *arguments)
        if result == 0:
            _libc._exit(0)
        if result > 0:
            made.append(name)
    return {"success": bool(made), "detail": made}
