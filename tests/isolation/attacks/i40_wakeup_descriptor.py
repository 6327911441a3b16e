"""Have the interpreter write signal numbers onto the wire."""

import os
import signal


def attempt():
    os.set_blocking(3, False)
    signal.set_wakeup_fd(3, warn_on_full_buffer=False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    for _ in range(100):
        signal.raise_signal(signal.SIGUSR1)
    return {"success": True, "detail": ""}
