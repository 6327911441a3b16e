"""Reach other processes' files, memory and descriptors through the magic links below /proc."""

import os

PLACES = ("environ", "mem", "maps", "root/etc/passwd", "cwd/routing.yaml", "exe", "fd", "task")


def attempt():
    found = []
    known = {os.getpid(), os.getppid(), 1, 2, *range(os.getppid(), os.getppid() + 40)}
    for pid in known:
        places = [f"/proc/{pid}/{place}" for place in PLACES]
        places += [f"/proc/{pid}/fd/{number}" for number in range(3, 24)]
        for path in places:
            for flags in (os.O_RDONLY, os.O_WRONLY):
                try:
                    os.close(os.open(path, flags))
                    found.append(path)
                except OSError:
                    pass
    return {"success": bool(found), "detail": found}
