"""Trace, profile and audit hooks that run in the runtime's own frames."""

import sys
import threading


def attempt():
    def hook(*_):
        try:
            while True:
                pass
        except BaseException:
            return hook

    threading.setprofile(hook)
    sys.addaudithook(hook)
    sys.setprofile(hook)
    return {"success": True, "detail": ""}
