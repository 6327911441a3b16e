"""Ignore and block every signal, then burn."""

import signal
import time


def attempt():
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pass
    return {"success": True, "detail": "burnt 20 s"}
