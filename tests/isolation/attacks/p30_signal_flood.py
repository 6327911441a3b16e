"""Queue signals to itself until the queue is full."""

import ctypes

_libc = ctypes.CDLL(None, use_errno=True)


def attempt():
    queued = sum(_libc.syscall(234, 1, 1, 40) == 0 for _ in range(5000))
    return {"success": False, "detail": queued}
