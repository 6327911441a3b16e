"""Ways of watching what others do: inotify, fanotify, lookup cookies, load, audit, cpu counters."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _libc.syscall(ctypes.c_long(number), *longs), errno.errorcode.get(ctypes.get_errno(), "")


CALLS = (
    ("inotify_init1", 294, (0,)),
    ("sysinfo", 99, (0,)),
    ("lookup_dcookie", 212, (0, 0, 0)),
    ("syslog", 103, (10, 0, 0)),
    ("ustat", 136, (0, 0)),
    ("sysfs", 139, (3,)),
    ("getpriority", 140, (0, 0)),
    ("ioprio_get", 252, (1, 0)),
    ("rt_tgsigqueueinfo", 297, (1, 1, 0, 0)),
)


def attempt():
    done = [name for name, number, arguments in CALLS if call(number, *arguments)[0] >= 0]
    return {"success": bool(done), "detail": done}
