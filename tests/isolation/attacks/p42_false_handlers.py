"""Handlers of signals where there is no code, on a stack that is none, and a fault."""

import ctypes
import struct

_libc = ctypes.CDLL(None, use_errno=True)


def attempt():
    stack = struct.pack("QiiQ", 0x1000, 0, 0, 1 << 20)
    _libc.syscall(131, stack, None)
    for number in range(1, 65):
        action = struct.pack("QQQQ", 0x1234, 0x0C000004, 0x5678, 0)
        _libc.syscall(13, number, action, None, 8)
    ctypes.string_at(0)
    return {"success": True, "detail": "alive"}
