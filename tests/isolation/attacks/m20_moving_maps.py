"""Move, split and fold large mappings back and forth, and take the heap away at the end."""

import ctypes
import mmap

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
PAGE, PAGES = 4096, 4096


def attempt():
    room = mmap.mmap(-1, PAGE * PAGES)
    at = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for page in range(0, PAGES, 16):
        ctypes.memset(at + page * PAGE, 1, 1)
        _libc.syscall(10, ctypes.c_long(at + page * PAGE), PAGE, page // 16 % 2)
    for flags in (1, 3, 5, 7) * 50:
        arguments = (at, PAGE * PAGES, PAGE * PAGES, flags, at + (1 << 36))
        moved = _libc.syscall(25, *map(ctypes.c_long, arguments))
        if moved > 0:
            at = moved
    _libc.syscall(12, ctypes.c_long(1))
    low = _libc.syscall(12, ctypes.c_long(0))
    _libc.syscall(12, ctypes.c_long(low - (8 << 20)))
    kept = [bytearray(100_000) for _ in range(100)]
    return {"success": False, "detail": [low, len(kept)]}
