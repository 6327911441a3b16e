"""Interrupt every processor by memory barriers for all."""

import ctypes

_libc = ctypes.CDLL(None, use_errno=True)


def attempt():
    for command in (2, 4, 16, 8, 64):
        for _ in range(2000):
            _libc.syscall(324, command, 0, 0)
    return {"success": True, "detail": "done; the honest must not feel it"}
