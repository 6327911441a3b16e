"""The wire between gateway and instance: which frames there are, and their bytes.

Sans-IO: bytes in, frames out; both ends use this file. A frame is a 12-byte little-endian header
(payload length, type, flags, reserved, stream) and its payload: metadata (``sandbox/payloads.py``)
or a raw chunk of a body (msgspec's encoder crashes when it cannot allocate under a memory limit).
Stream 0 is the connection itself; the gateway opens even streams (invocations), the instance odd
ones (subrequests).

Who sends what::

    gateway → instance   INIT BODY*(0)   REQUEST BODY*   FETCHED BODY* | FETCH_ERROR
                         CREDIT   CANCEL   DRAIN   TEXT*   BINARY*   CLOSE
    instance → gateway   HELLO   READY | FAILED   RESPONSE BODY* | EXCEPTION   DONE   ANSWER
                         LOG   FETCH BODY*   CREDIT   CANCEL   TEXT*   BINARY*   CLOSE   EXTEND

An invocation's stream lives from REQUEST to DONE. Before DONE the instance answers with RESPONSE
and BODY frames, the last flagged END, or with one EXCEPTION. An ANSWER is all of it at once:
RESPONSE, at most ``CHUNK`` bytes of BODY, and DONE. Each direction of a body starts with
``WINDOW`` bytes of credit; the receiver returns credit as it consumes. With EXTEND the first one
asks for CPU time that loading left over; it is given in silence, or not.

A RESPONSE of status 101 opens a WebSocket on the stream: messages travel both ways as TEXT and
BINARY frames, the last of a message flagged END, each of them worth its payload and
``MESSAGE_COST`` of credit. Each side ends with one CLOSE.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from sandbox.errors import ProtocolError

VERSION: Final = 1
HEADER: Final = struct.Struct("<IBBHI")
HEADER_SIZE: Final = HEADER.size
_ANSWER: Final = struct.Struct("<IBBHII")
"""A frame's header and the length of the response head that an ANSWER's payload begins with."""
MAX_FRAME: Final = 1 << 20
"""Longest payload of any frame, bytes; checked at the header, before anything is buffered."""
MAX_METADATA: Final = 256 * 1024
"""Longest payload of a metadata frame, INIT apart, bytes."""
CHUNK: Final = 64 * 1024
"""Body bytes a sender puts in one frame at most; an instance that puts more is not heard."""
LENGTH_SIZE: Final = 4
"""Bytes of the length, little-endian, before each compiled module."""
WINDOW: Final = 256 * 1024
"""Body bytes a sender may have unacknowledged on one stream in one direction."""
MESSAGE_COST: Final = 2048
"""Credit that a frame of a WebSocket message takes on top of its payload: so many may wait."""
END: Final = 1
"""Flag: the last frame of this direction of the stream."""


class FrameType(IntEnum):
    """The kinds of frame."""

    HELLO = 1
    INIT = 2
    READY = 3
    FAILED = 4
    REQUEST = 5
    RESPONSE = 6
    BODY = 7
    LOG = 8
    EXCEPTION = 9
    DONE = 10
    FETCH = 11
    FETCHED = 12
    FETCH_ERROR = 13
    CREDIT = 14
    CANCEL = 15
    DRAIN = 16
    TEXT = 17
    BINARY = 18
    CLOSE = 19
    ANSWER = 20
    EXTEND = 21


class Frame(NamedTuple):
    """One decoded frame; ``type`` is a plain int so that comparing costs nothing."""

    type: int
    flags: int
    stream: int
    payload: bytes


_pack = HEADER.pack
_pack_answer = _ANSWER.pack
_unpack = HEADER.unpack_from
_make_frame = tuple.__new__  # NamedTuple's own __new__ is a Python function around it


def encode(frame_type: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Build one frame. Raises ProtocolError when the payload is longer than a frame may be."""
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"payload of {len(payload)} bytes exceeds {MAX_FRAME}")
    return _pack(len(payload), frame_type, flags, 0, stream) + payload


def encode_header(frame_type: int, stream: int, length: int, flags: int = 0) -> bytes:
    """Build the header of a frame whose payload is written beside it, not copied behind it."""
    return _pack(length, frame_type, flags, 0, stream)


def encode_answer(stream: int, head: bytes, body: bytes) -> bytes:
    """Build the ANSWER frame of an encoded ResponseHead and at most ``CHUNK`` body bytes."""
    size = len(head)
    prefix = _pack_answer(4 + size + len(body), FrameType.ANSWER, 0, 0, stream, size)
    return b"%b%b%b" % (prefix, head, body)


def split_answer(payload: bytes) -> tuple[bytes, bytes]:
    """The encoded head and the body of an ANSWER. Raises ProtocolError when it is malformed."""
    end = 4 + int.from_bytes(payload[:4], "little")
    if not 4 < end <= len(payload) <= end + CHUNK:
        raise ProtocolError("an answer whose lengths do not fit")
    return payload[4:end], payload[end:]


def encode_credit(stream: int, amount: int) -> bytes:
    """Return ``amount`` bytes of credit to the sender of a body."""
    return _pack(4, FrameType.CREDIT, 0, 0, stream) + amount.to_bytes(4, "little")


def decode_credit(payload: bytes) -> int:
    """Read a CREDIT payload: bytes granted. Raises ProtocolError when malformed."""
    if len(payload) != 4:
        raise ProtocolError(f"credit frame of {len(payload)} bytes, expected 4")
    return int.from_bytes(payload, "little")


_STEP: Final = 512
"""Bytes between two looks at how many frames there are: 42 at most."""


class Decoder:
    """Bytes in, frames out. Buffers at most one partial frame."""

    def __init__(self, allowed: Mapping[int, int], *, at_once: int = 0) -> None:
        """``at_once``: after so many frames, and a few more, the rest is ``left``; 0: never."""
        self._longest = allowed
        self._at_once = at_once
        self._step = _STEP if at_once else sys.maxsize
        self._rest = bytearray()
        self._needed = 0
        """Bytes that ``_rest`` must have before it is worth a look."""
        self.left = b""
        """Bytes that were not looked at: to be fed before any others."""

    @property
    def buffered(self) -> int:
        """Bytes of the partial frame held back."""
        return len(self._rest)

    @property
    def missing(self) -> int:
        """Bytes without which the partial frame can be read no further; 0: there is none."""
        return self._needed - len(self._rest) if self._rest else 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they came; return every frame now complete.

        Raises ProtocolError at the first header that is too long, of a type that this peer may not
        send, or with a reserved bit set.
        """
        frames: list[Frame] = []
        offset = 0
        if self._rest:
            # However small the pieces, each byte is copied a bounded number of times; what follows
            # the partial frame not at all.
            offset = self._needed - len(self._rest)
            self._rest += memoryview(data)[:offset]
            if len(self._rest) < self._needed:
                return frames
            if self._needed == HEADER_SIZE:
                data, offset = bytes(self._rest) + data[offset:], 0
            else:
                frames.append(self._completed())
            self._rest.clear()
        size = len(data)
        while True:
            edge = size if size - offset <= self._step else offset + self._step
            offset = self._scan(data, offset, edge, frames)
            if edge == size or self._needed > HEADER_SIZE:
                break
            if len(frames) >= self._at_once:
                self.left = data[offset:]
                return frames
        if offset < size:
            self._rest += memoryview(data)[offset:]
        return frames

    def _scan(self, data: bytes, offset: int, edge: int, frames: list[Frame]) -> int:
        """Add the frames that begin before ``edge``; return where the first that is not whole does.

        What that one needs to go on is noted.
        """
        size = len(data)
        longest_of = self._longest
        while edge - offset >= HEADER_SIZE:
            length, frame_type, flags, reserved, stream = _unpack(data, offset)
            if frame_type not in longest_of or reserved or flags > END:
                raise ProtocolError(
                    f"frame type {frame_type} with flags {flags} is not allowed here"
                )
            if length > longest_of[frame_type]:
                raise ProtocolError(f"frame of {length} bytes is too long")
            end = offset + HEADER_SIZE + length
            if end > size:
                self._needed = end - offset
                return offset
            payload = data[offset + HEADER_SIZE : end]
            frames.append(_make_frame(Frame, (frame_type, flags, stream, payload)))
            offset = end
        self._needed = HEADER_SIZE
        return offset

    def _completed(self) -> Frame:
        """The frame that was partial; its header was checked when it came."""
        _, frame_type, flags, _, stream = _unpack(self._rest, 0)
        with memoryview(self._rest) as view:
            payload = bytes(view[HEADER_SIZE:])
        return _make_frame(Frame, (frame_type, flags, stream, payload))


FROM_INSTANCE: Final[Mapping[int, int]] = {
    FrameType.HELLO: MAX_METADATA,
    FrameType.READY: MAX_METADATA,
    FrameType.FAILED: MAX_METADATA,
    FrameType.RESPONSE: MAX_METADATA,
    FrameType.BODY: CHUNK,
    FrameType.LOG: MAX_METADATA,
    FrameType.EXCEPTION: MAX_METADATA,
    FrameType.DONE: MAX_METADATA,
    FrameType.FETCH: MAX_METADATA,
    FrameType.CREDIT: MAX_METADATA,
    FrameType.CANCEL: MAX_METADATA,
    FrameType.TEXT: MAX_METADATA,
    FrameType.BINARY: MAX_METADATA,
    FrameType.CLOSE: MAX_METADATA,
    FrameType.ANSWER: MAX_METADATA + CHUNK,
    FrameType.EXTEND: MAX_METADATA,
}
"""Frames that an instance may send, with the longest payload of each, bytes."""
FROM_GATEWAY: Final[Mapping[int, int]] = {
    FrameType.INIT: MAX_FRAME,
    FrameType.REQUEST: MAX_METADATA,
    FrameType.BODY: MAX_FRAME,
    FrameType.FETCHED: MAX_METADATA,
    FrameType.FETCH_ERROR: MAX_METADATA,
    FrameType.CREDIT: MAX_METADATA,
    FrameType.CANCEL: MAX_METADATA,
    FrameType.DRAIN: MAX_METADATA,
    FrameType.TEXT: MAX_METADATA,
    FrameType.BINARY: MAX_METADATA,
    FrameType.CLOSE: MAX_METADATA,
}
"""Frames that the gateway sends, with the longest payload of each, bytes."""
