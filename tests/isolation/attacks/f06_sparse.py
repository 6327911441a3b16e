"""A sparse file of a terabyte."""

import os


def attempt():
    fd = os.open("/tmp/sparse", os.O_CREAT | os.O_RDWR, 0o600)
    done = []
    for act in (lambda: os.ftruncate(fd, 1 << 40), lambda: os.posix_fallocate(fd, 0, 1 << 30)):
        try:
            act()
            done.append(os.fstat(fd).st_size)
        except OSError:
            pass
    os.close(fd)
    return {"success": bool(done), "detail": done}
