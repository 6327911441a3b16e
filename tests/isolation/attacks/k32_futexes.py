"""Priority-inheriting and robust locks on impossible owners, and a wake storm."""

import ctypes

_libc = ctypes.CDLL(None, use_errno=True)
LOCK_PI, UNLOCK_PI, CMP_REQUEUE_PI, WAKE = 6, 7, 12, 1


def attempt():
    word = ctypes.c_uint32(0x3FFFFFFF)
    other = ctypes.c_uint32(1)
    for operation in (UNLOCK_PI, CMP_REQUEUE_PI, WAKE):
        _libc.syscall(202, ctypes.byref(word), operation, 1, None, ctypes.byref(other), 0)
    for _ in range(20_000):
        _libc.syscall(202, ctypes.byref(other), WAKE, 1, None, None, 0)
    # Bound to fail: no such owner.
    result = _libc.syscall(202, ctypes.byref(word), LOCK_PI, 0, None, None, 0)
    return {"success": result == 0, "detail": result}
