"""Subrequests on streams that are in use, even, zero, or of nobody, and half of their frames."""

import os
import struct

from sandbox.runtime.context import current


def frame(kind, stream, payload=b"", flags=0):
    return struct.pack("<IBBHI", len(payload), kind, flags, 0, stream) + payload


def send(data):
    os.set_blocking(3, True)
    while data:
        data = data[os.write(3, data) :]


def attempt():
    stream = current.get().stream
    owner = b"\xcd" + stream.to_bytes(2, "big")
    head = b"\x95" + owner + b"\xa3GET\xaahttp://a.b\x90\xa6follow"
    send(frame(7, 9, b"x") + frame(15, 11) + frame(14, 13, b"\x01\x00\x00\x00"))
    send(frame(11, 21, head) + frame(7, 21, b"x", 1) + frame(7, 21, b"after its end"))
    send(frame(11, 2, head) + frame(11, 0, head))
    return {"success": True, "detail": ""}
