"""Messages of a WebSocket on a stream that is none."""

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
    send(frame(17, stream, b"text", 1) + frame(18, stream, b"binary", 1) + frame(19, stream))
    return {"success": True, "detail": ""}
