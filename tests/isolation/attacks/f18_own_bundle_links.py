"""Rename, link and replace within the bundle, and poison bytecode caches beside it."""

import os
import py_compile


def attempt():
    done = []
    for name, act in (
        ("rename", lambda: os.rename("/app/main.py", "/app/other.py")),
        ("link out", lambda: os.link("/app/main.py", "/tmp/main.py")),
        ("unlink", lambda: os.unlink("/app/main.py")),
        ("cache", lambda: os.mkdir("/app/__pycache__")),
        (
            "compile",
            lambda: py_compile.compile("/app/main.py", cfile="/app/main.pyc", doraise=True),
        ),
        ("truncate", lambda: os.truncate("/app/main.py", 0)),
        ("stdlib cache", lambda: py_compile.compile(os.__file__, doraise=True)),
        ("times", lambda: os.utime("/app/main.py")),
    ):
        try:
            act()
            done.append(name)
        except OSError:
            pass
    return {"success": bool(done), "detail": done}
