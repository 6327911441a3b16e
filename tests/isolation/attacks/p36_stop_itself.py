"""Stop the process: it answers nothing more, burns nothing and is still there."""

import signal
import threading


def attempt():
    for number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN):
        signal.pthread_kill(threading.main_thread().ident, number)
    return {"success": False, "detail": "the first process of a namespace is not stopped by itself"}
