"""Calls on memory that reach beyond it: locking, poisoning, merging, keys, sealing, residency."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _libc.syscall(ctypes.c_long(number), *longs), errno.errorcode.get(ctypes.get_errno(), "")


CALLS = (
    ("mlockall", 151, (3,)),
    ("mlock2", 325, (4096, 4096, 1)),
    ("mincore", 27, (0, 4096, 0)),
    ("remap_file_pages", 216, (0, 0, 0, 0, 0)),
    ("pkey_alloc", 330, (0, 0)),
    ("memfd_secret", 447, (0,)),
    ("mseal", 462, (0, 4096, 0)),
    ("cachestat", 451, (0, 0, 0, 0)),
    ("process_mrelease", 448, (0, 0)),
    ("userfaultfd missing", 28, (4096, 4096, 12)),
    ("madvise hwpoison", 28, (4096, 4096, 100)),
    ("get_mempolicy", 239, (0, 0, 0, 0, 0)),
    ("set_mempolicy_home_node", 450, (0, 0, 0, 0)),
)


def attempt():
    done = [name for name, number, arguments in CALLS if call(number, *arguments)[0] >= 0]
    return {"success": bool(done), "detail": done}
