"""Read /proc and /sys by every way in."""

import os


def attempt():
    found = []
    for path in (
        "/proc/self/maps", "/proc/self/mem", "/proc/1/environ", "/proc/kallsyms", "/sys/kernel",
        "/proc/self/root/etc/passwd", "/dev/fd/3", "/dev/stdin", "/proc/self/fd", "/dev/shm",
        "/tmp/../etc/passwd", "/app/../proc/self/status", "//proc/self/status",
    ):  # fmt: skip
        try:
            fd = os.open(path, os.O_RDONLY)
            if not os.path.sameopenfile(fd, 0):  # /dev/null by another name
                found.append(path)
            os.close(fd)
        except OSError:
            pass
    return {"success": bool(found), "detail": found}
