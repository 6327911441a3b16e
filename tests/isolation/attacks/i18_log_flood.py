"""A million tiny log records, straight onto the wire."""

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
    record = frame(8, stream(), b"\x93\xa3log\x01\x91\xa1x") * 4096
    for _ in range(2000):
        send(record)
    return {"success": True, "detail": ""}
