"""Threads that burn, and never let the main thread have its signals."""

import sys
import threading


def attempt():
    sys.setswitchinterval(1000.0)

    def burn():
        while True:
            pass

    threads = [threading.Thread(target=burn, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"success": True, "detail": ""}
