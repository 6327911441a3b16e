"""Install a C handler for the soft limit's signal, and burn."""

import ctypes


def attempt():
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    # A function of the C library that returns at once.
    libc.signal(24, ctypes.cast(libc.getpid, ctypes.c_void_p))
    while True:
        pass
