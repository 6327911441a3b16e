"""A child that goes the way of an instance, and tells what code that takes.

The way from the fork to the first word is gone once by each instance, but never by the zygote:
nothing that runs there shows which code its children will need.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from sandbox.jail import credentials
from sandbox.supervisor.messages import SpawnOrder
from sandbox.supervisor.spawn import Birth, Recipe, become_instance

_ORDER: Final = SpawnOrder(
    order=0, memory_bytes=64 << 20, scratch_bytes=1 << 20, bundle_bytes=1 << 20, bundle_files=16
)
_MOST_BYTES: Final = 1 << 16
_ID: Final = struct.Struct("=Q")


def ids(recipe: Recipe, fork: Callable[[], int]) -> tuple[int, ...]:
    """Return the ids of the code that a child runs before it speaks; none when it does not."""
    ours, theirs = socket.socketpair()
    called: dict[int, None] = {}

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            called[id(frame.f_code)] = None

    def tell(wire_fd: int, **_arguments: object) -> None:
        sys.setprofile(None)
        os.write(wire_fd, b"".join(map(_ID.pack, called))[:_MOST_BYTES])

    log = os.dup(recipe.null)
    birth = Birth(_ORDER, credentials.FIRST_UID, theirs.fileno(), log)
    sys.setprofile(note)
    try:
        pid = fork()
        if pid == 0:
            become_instance(dataclasses.replace(recipe, entry=tell), birth)
    finally:
        sys.setprofile(None)
        theirs.close()
        os.close(log)
    with ours:
        told = b"".join(iter(lambda: ours.recv(_MOST_BYTES), b""))
    _pid, status = os.waitpid(pid, 0)
    # One that failed told why: the first instance will do so, too, where somebody listens.
    return () if status else tuple(number for (number,) in _ID.iter_unpack(told))
