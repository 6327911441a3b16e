"""Exceptions without end, as large as they may be."""

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
    text = b"\xda\xff\xff" + b"x" * 65535
    record = b"\x95\xa9exception" + text * 3 + b"\x01"
    for _ in range(400):
        send(frame(9, stream(), record))
    return {"success": True, "detail": ""}
