"""Threads that write to the wire between the runtime's own frames."""

import os
import threading


def attempt():
    def write():
        for _ in range(2000):
            try:
                os.write(3, b"\x00\x00\x00\x00\x0b\x00\x00\x00")
            except OSError:
                return

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"success": False, "detail": ""}
