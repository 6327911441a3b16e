"""Leave the process from a finalizer that runs in the runtime's frames."""

import gc
import os


class Leave:
    def __del__(self):
        os._exit(0)


def attempt():
    trap = Leave()
    trap.self = trap
    del trap
    gc.set_threshold(1)
    return {"success": False, "detail": "leaving"}
