"""Log records that JSON cannot say: no numbers, too large ones, halves of characters, control."""

import os
import struct

from sandbox.runtime.context import current


def frame(kind, stream, payload=b"", flags=0):
    return struct.pack("<IBBHI", len(payload), kind, flags, 0, stream) + payload


def send(data):
    os.set_blocking(3, True)
    while data:
        data = data[os.write(3, data) :]


NUMBERS = (
    b"\x94\xcb\x7f\xf8"
    + bytes(6)
    + b"\xcb\x7f\xf0"
    + bytes(6)
    + b"\xcf"
    + b"\xff" * 8
    + b"\xd3\x80"
    + bytes(7)
)
CONTROL = b"\x93\xa4\x1b[2J\xa3\x00\r\n\xa3\xe2\x80\xae"
HALVES = b"\x91\xa3\xed\xa0\x80"


def attempt():
    for parts in (NUMBERS, CONTROL, HALVES):
        send(frame(8, current.get().stream, b"\x93\xa3log\x00" + parts))
    return {"success": True, "detail": ""}
