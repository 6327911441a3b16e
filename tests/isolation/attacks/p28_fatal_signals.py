"""Die by each signal that can be sent to oneself."""

import signal


def attempt():
    for number in (
        signal.SIGSYS,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGXCPU,
        signal.SIGXFSZ,
        signal.SIGSEGV,
    ):
        try:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        except BaseException:
            pass
    return {"success": False, "detail": "alive: the first process of a namespace ignores them"}
