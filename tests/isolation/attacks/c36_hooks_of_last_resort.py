"""Burn in the hooks that run when something failed, where exceptions are swallowed."""

import builtins
import sys
import threading


def _burn(*_, **__):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


class Fails:
    def __del__(self):
        raise ValueError


def attempt():
    sys.excepthook = sys.unraisablehook = sys.displayhook = threading.excepthook = _burn
    builtins.print = builtins.repr = builtins.__build_class__ = _burn
    Fails()
    return {"success": False, "detail": ""}
