"""Take away the C library, the stack and all else the process stands on."""

import ctypes

_libc = ctypes.CDLL(None, use_errno=True)


def attempt():
    where = ctypes.cast(_libc.munmap, ctypes.c_void_p).value & ~0xFFFFFFF
    _libc.munmap(ctypes.c_void_p(where), ctypes.c_size_t(1 << 33))
    return {"success": True, "detail": ""}
