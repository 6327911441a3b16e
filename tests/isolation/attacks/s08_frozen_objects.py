"""Find the supervisor among the objects that the collector was told to forget."""

import gc
import sys


def attempt():
    gc.unfreeze()
    found = [name for name in sys.modules if name.startswith(("gateway", "sandbox.supervisor"))]
    for item in gc.get_objects():
        if type(item).__name__ in ("Config", "SqliteStore", "Node", "Token"):
            found.append(repr(item)[:200])
    return {"success": bool(found), "detail": found}
