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
            os.close(os.open(path, os.O_RDONLY))
            found.append(path)
        except OSError:
            pass
    return {"success": bool(found), "detail": found}
