"""Move directories between the trees, and the trees themselves."""

import os


def attempt():
    done = []
    os.makedirs("/tmp/a/b", exist_ok=True)
    for source, target in (
        ("/tmp/a", "/app/a"), ("/app", "/tmp/app"), ("/tmp", "/t"), ("/usr", "/tmp/usr"),
        ("/app/main.py", "/tmp/main.py"), ("/tmp/a", "/dev/a"),
    ):  # fmt: skip
        try:
            os.rename(source, target)
            done.append((source, target))
        except OSError:
            pass
    return {"success": bool(done), "detail": done}
