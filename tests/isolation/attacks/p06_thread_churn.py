"""Start and join threads again and again, four at a time."""

import threading


def attempt():
    for _ in range(3000):
        threads = [threading.Thread(target=int) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"success": True, "detail": "12000 threads"}
