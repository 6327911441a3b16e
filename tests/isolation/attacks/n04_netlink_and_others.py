"""A socket of any family at all."""

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
    made = [f for f in range(46) if any(call(41, f, kind, 0)[0] >= 0 for kind in (1, 2, 3, 5))]
    return {"success": bool(made), "detail": made}
