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
            os.close(os.open(path, os.O_RDONLY))
            found.append(path)
        except (OSError, ValueError):
            pass
    return {"success": bool(found), "detail": found}
