"""Put filters and rules of its own over itself, to listen in or to blind the runtime."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _libc.syscall(ctypes.c_long(number), *longs), errno.errorcode.get(ctypes.get_errno(), "")


CALLS = (
    ("landlock_create_ruleset", 444, (0, 0, 1)),
    ("landlock_restrict_self", 446, (3, 0)),
    ("prctl no_new_privs", 157, (38, 1, 0, 0, 0)),
    ("prctl seccomp", 157, (22, 2, 0)),
    ("prctl subreaper", 157, (36, 1, 0, 0, 0)),
    ("prctl mce", 157, (33, 1, 1, 0, 0)),
    ("prctl mm", 157, (35, 1, 0, 0, 0)),
    ("prctl memory merge", 157, (67, 1, 0, 0, 0)),
    ("prctl syscall user dispatch", 157, (59, 1, 0, 0, 0)),
    ("prctl tsc", 157, (26, 2, 0, 0, 0)),
    ("prctl speculation", 157, (53, 0, 2, 0, 0)),
    ("arch_prctl cpuid", 158, (4114, 0)),
)


def attempt():
    done = [name for name, number, arguments in CALLS if call(number, *arguments)[0] >= 0]
    return {"success": bool(done), "detail": done}
