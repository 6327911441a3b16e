"""Symbolic and hard links to what lies outside."""

import os


def attempt():
    done = []
    open("/tmp/mine", "w").close()
    for target in ("/etc/passwd", "/", "/dev/null", "/app/main.py", "/tmp/mine"):
        for make in (os.symlink, os.link):
            try:
                make(target, "/tmp/made")
                done.append((make.__name__, target))
                os.unlink("/tmp/made")
            except OSError:
                pass
    return {"success": bool(done), "detail": done}
