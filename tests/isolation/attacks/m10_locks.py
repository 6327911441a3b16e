"""Kernel memory by locks on a million ranges of a thousand files."""

import fcntl
import os


def attempt():
    held = 0
    for number in range(32):
        fd = os.open(f"/tmp/{number}", os.O_RDWR | os.O_CREAT)
        for start in range(20_000, 0, -1):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start * 4)
            held += 1
    return {"success": True, "detail": held}
