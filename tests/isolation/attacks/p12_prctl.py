"""Undo what the jail set for this process."""

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
    options = {
        "dumpable": (4, 1),
        "death signal": (1, 0),
        "keep caps": (8, 1),
        "subreaper": (36, 1),
    }
    options |= {"ptracer": (0x59616D61, -1), "speculation": (53, 0), "timer slack": (29, 1)}
    for name, (option, value) in options.items():
        if _libc.prctl(option, ctypes.c_ulong(value % (1 << 64)), 0, 0, 0) == 0:
            done.append(name)
    return {"success": bool(done), "detail": done}
