"""Priority, affinity and policy by the raw calls."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _libc.syscall(ctypes.c_long(number), *longs), errno.errorcode.get(ctypes.get_errno(), "")


CALLS = (
    ("setpriority", 141, (0, 0, -20)),
    ("sched_setaffinity", 203, (0, 8, 0)),
    ("sched_setattr", 314, (0, 0, 0)),
    ("sched_setscheduler", 144, (0, 1, 0)),
    ("ioprio_set", 251, (1, 0, 16384)),
    ("setpgid", 109, (0, 0)),
    ("setsid", 112, ()),
)


def attempt():
    done = [name for name, number, arguments in CALLS if call(number, *arguments)[0] >= 0]
    return {"success": bool(done), "detail": done}
