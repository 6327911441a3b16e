"""Threads with huge stacks."""

import threading
import time


def attempt():
    threading.stack_size(256 << 20)
    threads = []
    try:
        for _ in range(64):
            thread = threading.Thread(target=time.sleep, args=(0.2,), daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        pass
    finally:
        threading.stack_size(0)
    return {"success": len(threads) > 8, "detail": len(threads)}
