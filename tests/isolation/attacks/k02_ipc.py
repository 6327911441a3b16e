"""System V and POSIX inter-process communication."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *longs)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


CALLS = (
    ("shmget", 29, (4660, 4096, 950)),
    ("semget", 64, (4660, 1, 950)),
    ("msgget", 68, (4660, 950)),
    ("mq_open", 240, (b"x", 66, 384, 0)),
    ("memfd_create", 319, (b"m", 0)),
    ("memfd_secret", 447, (0,)),
    ("shm_open by path", 2, (b"/dev/shm/x", 66, 384)),
)


def attempt():
    done = []
    for name, number, arguments in CALLS:
        result, _ = call(number, *arguments)
        if result >= 0:
            done.append(name)
    return {"success": bool(done), "detail": done}
