"""Change the code that is running, by path and by any descriptor that is left."""

import os


def attempt():
    done = []
    tries = {
        "append": lambda: os.close(os.open("/app/main.py", os.O_WRONLY | os.O_APPEND)),
        "truncate": lambda: os.truncate("/app/main.py", 1),
        "new": lambda: os.close(os.open("/app/new.py", os.O_CREAT | os.O_WRONLY, 0o600)),
        "unlink": lambda: os.unlink("/app/main.py"),
        "mkdir": lambda: os.mkdir("/app/folder"),
        "chmod": lambda: os.chmod("/app/main.py", 0o777),
        "chmod of the folder": lambda: os.chmod("/app", 0o777),
        "utime": lambda: os.utime("/app/main.py"),
    }
    for fd in range(64):
        tries[f"by descriptor {fd}"] = lambda fd=fd: os.close(
            os.open("probe", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
        )
    os.chdir("/app")
    tries["working directory"] = lambda: os.close(os.open("p", os.O_CREAT | os.O_WRONLY))
    for name, act in tries.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    return {"success": bool(done), "detail": done}
