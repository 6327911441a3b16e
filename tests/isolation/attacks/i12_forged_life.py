"""Forge the frames of another part of life: HELLO, READY, FAILED, DONE, gateway's own."""

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
    ready = b"\x93\xa6worker\xc3\x90"
    send(frame(3, 0, ready))
    return {"success": True, "detail": ""}
