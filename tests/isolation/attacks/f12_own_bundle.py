"""Change the code that is running, by path and by any descriptor that is left."""

import os

APP = os.path.dirname(os.path.abspath(__file__))


def attempt():
    done = []
    tries = {
        "append": lambda: os.close(os.open(f"{APP}/main.py", os.O_WRONLY | os.O_APPEND)),
        "truncate": lambda: os.truncate(f"{APP}/main.py", 1),
        "new": lambda: os.close(os.open(f"{APP}/new.py", os.O_CREAT | os.O_WRONLY, 0o600)),
        "unlink": lambda: os.unlink(f"{APP}/main.py"),
        "mkdir": lambda: os.mkdir(f"{APP}/folder"),
        "chmod": lambda: os.chmod(f"{APP}/main.py", 0o777),
        "chmod of the folder": lambda: os.chmod(APP, 0o777),
        "utime": lambda: os.utime(f"{APP}/main.py"),
    }
    for fd in range(64):
        tries[f"by descriptor {fd}"] = lambda fd=fd: os.close(
            os.open("probe", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
        )
    os.chdir(APP)
    tries["working directory"] = lambda: os.close(os.open("p", os.O_CREAT | os.O_WRONLY))
    for name, act in tries.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    return {"success": bool(done), "detail": done}
