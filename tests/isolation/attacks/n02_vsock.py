"""Talk to the hypervisor."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *longs)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


import socket


def attempt():
    made = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        for family in (40, 42, 44, (1 << 32) | 40):
            if call(41, family, kind, 0)[0] >= 0:
                made.append(family)
            if call(53, family, kind, 0, (ctypes.c_int * 2)())[0] >= 0:
                made.append(("pair", family))
    return {"success": bool(made), "detail": made}
