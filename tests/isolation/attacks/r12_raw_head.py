"""A head that the runtime would not have let pass."""

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
    value = b"a\r\nset-cookie: stolen=1\r\n\r\n<html>"
    head = b"\x92\xcc\xc8\x91\x92\xc4\x01x\xc4" + bytes([len(value)]) + value
    send(frame(6, stream(), head) + frame(7, stream(), b"x", 1))
    return {"success": True, "detail": ""}
