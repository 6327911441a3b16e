"""What the processes of one node tell each other, over a socket pair between the leader and each.

Four bytes of length, then MessagePack. Both ends are ours: a frame that cannot be read ends the
follower, which is started anew.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

import msgspec

from gateway.config import Config
from gateway.model.invocation import Invocation
from gateway.model.script import ScriptKey

MAX_FRAME: Final = 8 << 20
"""Bytes of one frame."""
PIECE: Final = 1 << 20
"""Bytes of a long text that are sent at once."""
_LENGTH: Final = struct.Struct("!I")

Topic = tuple[str | None, str | None, str | None]
"""Namespace, script and tenant that somebody listens to; None is any."""


class BadFrame(Exception):
    """The other end of the bus said what makes no sense, or too much at once."""


class _Frame(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Setup(_Frame, frozen=True, array_like=True, tag=True):
    """Leader: what to be."""

    config: Config


class Open(_Frame, frozen=True, array_like=True, tag=True):
    """Leader: the store is there."""


class Begin(_Frame, frozen=True, array_like=True, tag=True):
    """Leader: take connections."""


class Changed(_Frame, frozen=True, array_like=True, tag=True):
    """Leader: a stored fact is another now; forget it and say so."""

    number: int
    what: str
    """A method of ``gateway.observer.Changes``."""
    about: list[list[str]]
    """What it is called with: texts, and keys of scripts in two parts."""


class Listened(_Frame, frozen=True, array_like=True, tag=True):
    """Leader: somebody listens to these and to nothing else; say so when they are sent."""

    number: int
    topics: list[Topic]


class Count(_Frame, frozen=True, array_like=True, tag=True):
    """Leader: say what was counted."""


class Ready(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: everything is there to take connections."""


class Serving(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: connections are taken."""


class Done(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: what has this number is in force."""

    number: int


class Seen(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: an invocation that somebody listens to, written by ``invocation_written``."""

    invocation: bytes


class Lost(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: so many were not sent, because the leader was too slow to read them."""

    count: int


class Judged(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: so many requests of a version, and how many of them failed."""

    key: ScriptKey
    version_id: str
    total: int
    failed: int


class Counted(_Frame, frozen=True, array_like=True, tag=True):
    """Follower: a piece of what was counted, as Prometheus reads it."""

    text: bytes
    last: bool


FromLeader = Setup | Open | Begin | Changed | Listened | Count
FromFollower = Ready | Serving | Done | Seen | Lost | Judged | Counted

_encode = msgspec.msgpack.Encoder().encode
from_leader: Final = msgspec.msgpack.Decoder(FromLeader)
from_follower: Final = msgspec.msgpack.Decoder(FromFollower)


_invocation = msgspec.msgpack.Decoder(Invocation)


def invocation_written(invocation: Invocation) -> bytes:
    """An invocation without its body. Raises ValueError or TypeError where it cannot be written."""
    request = msgspec.structs.replace(invocation.request, receive=None)
    return _encode(msgspec.structs.replace(invocation, request=request))


def invocation_read(data: bytes) -> Invocation:
    """What ``invocation_written`` wrote. Raises ValueError."""
    return _invocation.decode(data)


def written(frame: msgspec.Struct) -> bytes:
    """A frame as bytes. Raises BadFrame when it is too long."""
    payload = _encode(frame)
    if len(payload) > MAX_FRAME:
        raise BadFrame(f"{type(frame).__name__} of {len(payload)} bytes")
    return _LENGTH.pack(len(payload)) + payload


async def read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    """The next frame; None when the other end is gone. Raises BadFrame."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            raise BadFrame(f"{length} bytes")
        return decoder.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except msgspec.MsgspecError as error:
        raise BadFrame(str(error)) from None
