"""Names that no file should have, links in loops, and paths as long as they go."""

import os


def attempt():
    os.chdir("/tmp")
    found = []
    for depth in range(300):
        try:
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        except OSError:
            break
    for path in (
        "/tmp/" + "../" * 40 + "etc/passwd",
        "//etc//passwd",
        "/tmp/\udcff/../../etc/passwd",
        "/proc/self/root/etc/passwd",
        "/dev/fd/0/../../etc",
        "/dev/stdin",
        "/dev/pts/0",
        "/dev/shm/x",
        "/dev/mqueue/x",
        "/app/../etc/passwd",
        "/usr/../etc/passwd",
        "/lib64/../etc/passwd",
        "/..",
    ):
        try:
            fd = os.open(path, os.O_RDONLY)
            if not os.path.sameopenfile(fd, 0):  # /dev/null by another name
                found.append(path)
            os.close(fd)
        except (OSError, ValueError):
            pass
    return {"success": bool(found), "detail": found}
