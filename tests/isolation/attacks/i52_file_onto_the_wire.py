"""Have the kernel put a file onto the wire, and onto the log, as fast as it can."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def attempt():
    with open("/tmp/zeros", "wb") as file:
        file.truncate(12 << 20)
    zeros = os.open("/tmp/zeros", os.O_RDONLY)
    os.set_blocking(3, True)
    for target in (1, 3):
        _libc.sendfile(target, zeros, ctypes.byref(ctypes.c_long(0)), ctypes.c_size_t(8 << 20))
    return {"success": True, "detail": ""}
