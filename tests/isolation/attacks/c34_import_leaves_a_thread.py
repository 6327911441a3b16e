"""A thread, begun at the top level, that burns from the moment the script is loaded."""

import threading
import time


def _burn():
    time.sleep(0.02)
    while True:
        pass


threading.Thread(target=_burn, daemon=True).start()


def attempt():
    time.sleep(0.3)
    return {"success": False, "detail": ""}
