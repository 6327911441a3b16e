"""Every thread there may be waits for the wire, and each is woken by each byte."""

import select
import threading
import time


def attempt():
    def wait():
        poll = select.poll()
        poll.register(3, select.POLLIN | select.POLLOUT | select.POLLPRI)
        while True:
            poll.poll()

    try:
        for _ in range(100):
            threading.Thread(target=wait, daemon=True).start()
    except RuntimeError:
        pass
    time.sleep(0.2)
    return {"success": True, "detail": ""}
