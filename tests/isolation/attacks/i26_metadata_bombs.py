"""Small metadata that unpacks to a lot: deep, wide, unknown types."""

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
    wide = b"\x93\xa3log\x01\xdd" + (250_000).to_bytes(4, "big") + b"\x90" * 250_000
    deep = b"\x93\xa3log\x01" + b"\x91" * 250_000 + b"\xc0"
    send(frame(8, stream(), wide))
    time.sleep(0.05)
    send(frame(8, stream(), deep))
    return {"success": False, "detail": ""}
