"""Reach the runtime's server, channel and adapter by frames and the collector, and use them."""

import gc
import sys


def attempt():
    gc.unfreeze()
    frame, found = sys._getframe(), {}
    while frame is not None:
        found.update({type(v).__name__: v for v in frame.f_locals.values()})
        frame = frame.f_back
    server = found.get("Server")
    if server is not None:
        server.invocations.clear()
        server.recorder.left = 1 << 40
        server.log_bytes = 1 << 40
    for number in range(200):
        sys.stdout.write("x" * 4096 + "\n")
    return {"success": False, "detail": sorted(found)}
