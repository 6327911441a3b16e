"""Close the reading half of the wire, and stay."""

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


import socket
import time


def attempt():
    wire = socket.socket(fileno=os.dup(3))
    wire.shutdown(socket.SHUT_RD)
    time.sleep(5)
    return {"success": True, "detail": ""}
