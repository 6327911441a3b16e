"""A child that goes the way of an instance, and tells what code that takes.

The way from the order to the last word is gone once by each instance, but most of it never by the
zygote: nothing that runs there before shows which code it and its children will need.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from sandbox.supervisor import messages

_ORDER: Final = messages.SpawnOrder(
    order=0, memory_bytes=32 << 20, scratch_bytes=1 << 20, bundle_bytes=1 << 20, bundle_files=16
)
_Entry = Callable[..., None]
_MOST_BYTES: Final = 1 << 16
_LOG: Final = 2
_ID: Final = struct.Struct("=Q")
_Live = Callable[..., bool]


def ids(
    serve: Callable[[socket.socket, _Entry], None], live: _Live, said: bytes
) -> tuple[int, ...]:
    """Return the ids of the code that zygote and child run for an order; none when it fails.

    ``serve`` takes one order, starts what does as it is given, and waits for its end. The child
    calls ``live``, which finds on the wire what is ``said``, and tells whether all went well.
    """
    called: dict[int, None] = {}

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            called[id(frame.f_code)] = None

    def tell(wire_fd: int, **arguments: Any) -> None:
        well = live(wire_fd, **arguments)
        sys.setprofile(None)
        if well:
            os.write(_LOG, b"".join(map(_ID.pack, called))[:_MOST_BYTES])

    def watched(control: socket.socket) -> None:
        sys.setprofile(note)
        try:
            serve(control, tell)
        finally:
            sys.setprofile(None)

    told = [number for (number,) in _ID.iter_unpack(_told(watched, said))]
    # One that failed told why: the first instance will do so, too, where somebody listens.
    return tuple(dict.fromkeys((*told, *called))) if told else ()


def _told(serve: Callable[[socket.socket], None], said: bytes) -> bytes:
    """Give an order, and return what the child writes to its log."""
    ours, theirs = socket.socketpair()
    gateway, zygote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read_fd, log = os.pipe2(os.O_CLOEXEC)
    with ours, gateway, open(read_fd, "rb") as written:
        with theirs, zygote, open(log, "wb"):
            ours.sendall(said)
            socket.send_fds(gateway, [messages.encode(_ORDER)], [theirs.fileno(), log])
            serve(zygote)
        return written.read()
