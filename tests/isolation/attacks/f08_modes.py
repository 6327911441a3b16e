"""Set-user-id bits, owners, extended attributes and devices on own files."""

import os
import stat


def attempt():
    done = []
    open("/tmp/mine", "w").close()
    for name, act in {
        "chown": lambda: os.chown("/tmp/mine", 0, 0),
        "xattr": lambda: os.setxattr("/tmp/mine", "user.x", b"1"),
        "fifo": lambda: os.mkfifo("/tmp/fifo"),
        "device": lambda: os.mknod("/tmp/device", stat.S_IFCHR | 0o600, os.makedev(1, 1)),
        "exec": lambda: os.execv("/tmp/mine", ["mine"]),
    }.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    return {"success": bool(done), "detail": done}
