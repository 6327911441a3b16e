"""Announce a frame and never finish it."""

import os
import struct

from sandbox.runtime.context import current


def frame(kind, stream, payload=b"", flags=0):
    return struct.pack("<IBBHI", len(payload), kind, flags, 0, stream) + payload


def stream():
    return current.get().stream


def send(data):
    os.set_blocking(3, True)
    while data:
        data = data[os.write(3, data) :]


import time


def attempt():
    send(frame(7, stream(), b"x" * 1000)[:40])
    time.sleep(5)
    return {"success": True, "detail": ""}
