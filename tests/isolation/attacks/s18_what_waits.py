"""Look for what was done in this process before it was this tenant's: spares rehearse."""

import gc
import os
import sys
import threading


def _known(path):
    """The bundle, and what leads to an interpreter that is kept there."""
    return path.endswith("/main.py") or any(p.startswith(path) for p in sys.path)


def attempt():
    found = [name for name in sys.modules if name in ("rehearsal", "gateway")]
    found += [repr(thread) for thread in threading.enumerate()[1:]]
    for place in ("/tmp", os.getcwd()):
        try:
            found += [name for name in os.listdir(place) if not _known(f"{place}/{name}")]
        except OSError:
            pass
    gc.unfreeze()
    mine = {id(globals())}
    for thing in gc.get_objects():
        if type(thing) is dict and id(thing) not in mine and "on_fetch" in thing:
            found.append(str(thing.get("__file__"))[:80])
    return {"success": bool(found), "detail": found}
