"""A thread that burns after the answer."""

import threading


def burn():
    while True:
        pass


def attempt():
    threading.Thread(target=burn, daemon=True).start()
    return {"success": False, "detail": "started"}
