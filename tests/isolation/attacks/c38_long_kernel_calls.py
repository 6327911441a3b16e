"""Calls that stay in the kernel for long: gigabytes of zeros, of chance, of moved pages."""

import ctypes
import mmap

_libc = ctypes.CDLL(None, use_errno=True)
SIZE = 64 << 20


def attempt():
    room = mmap.mmap(-1, SIZE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(room))
    with open("/dev/zero", "rb", buffering=0) as zero:
        vector = (ctypes.c_long * 2048)(*[at, SIZE] * 1024)
        while True:
            _libc.syscall(295, zero.fileno(), ctypes.byref(vector), 1024, 0, 0)
            _libc.syscall(318, ctypes.c_long(at), ctypes.c_long(SIZE), 0)
