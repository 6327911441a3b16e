"""The wire between gateway and instance: frames, and the typed metadata inside them.

Sans-IO: bytes in, frames out; both ends use this file. A frame is a 12-byte little-endian header
(payload length, type, flags, reserved, stream) and its payload. Metadata travels as msgspec
MessagePack arrays, bodies as raw chunks (msgspec's encoder crashes when it cannot allocate under a
memory limit). Stream 0 is the connection itself; the gateway opens even streams (invocations), the
instance odd ones (subrequests).

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
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from sandbox.errors import ProtocolError

T = TypeVar("T", bound=msgspec.Struct)

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
MAX_CLOSE_REASON: Final = 123
"""Bytes of the reason with which a WebSocket is closed."""
NO_CODE: Final = 1005
"""Stands for a close without a code."""
LOST: Final = 1006
"""Stands for a connection that ended without a close."""
END: Final = 1
"""Flag: the last frame of this direction of the stream."""
MAX_FIELDS: Final = 1024
"""Header fields of one message; how many HTTP may have is for the edge to say."""
MAX_NAME: Final = 256
"""Characters of a name, a kind, a level."""
MAX_MESSAGE: Final = 8 * 1024
"""Characters of an exception's message."""
MAX_STACK: Final = 16 * 1024
"""Characters of a stack trace."""
MAX_ITEMS: Final = 1000
"""Items of one list or mapping in a log record."""
MAX_DEPTH: Final = 6
"""Lists and mappings inside one another in an argument of a log record."""


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


HeaderList = list[tuple[bytes, bytes]]
# What an instance writes is bounded by its type: decoding stops at the first thing that does not
# fit, before the objects are made that would cost a hundred times their bytes.
_Fields = Annotated[HeaderList, Meta(max_length=MAX_FIELDS)]
_Name = Annotated[str, Meta(max_length=MAX_NAME)]
_Message = Annotated[str, Meta(max_length=MAX_MESSAGE)]
_Stack = Annotated[str, Meta(max_length=MAX_STACK)]


def _loggable(depth: int) -> Any:
    """The type of what JSON can hold. Keys are text only: all others can be made to collide."""
    kinds: Any = str | int | float | bool | None
    if depth:
        below = _loggable(depth - 1)
        kinds |= Annotated[list[below], Meta(max_length=MAX_ITEMS)]  # type: ignore[valid-type]
        kinds |= Annotated[dict[str, below], Meta(max_length=MAX_ITEMS)]  # type: ignore[valid-type]
    return kinds


if TYPE_CHECKING:
    _Argument = Any
else:
    _Argument = _loggable(MAX_DEPTH)


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First word of an instance: the jail is closed, code may come."""

    version: int


class Init(msgspec.Struct, array_like=True, frozen=True):
    """The script: its modules follow as BODY frames on stream 0, concatenated in this order."""

    modules: list[tuple[str, int]]
    """Module path inside the bundle (``pkg/a.py``) and its size in bytes."""
    main: str
    entrypoint: str | None
    """Name of the callable in the main module; None: look for the usual ones."""
    env: dict[str, Any]
    """Variables and secrets bound to this version, by binding name."""
    script: str
    version_id: str
    log_bytes: int = 256 * 1024
    """What one invocation may log before it is cut."""
    created_ms: int = 0
    """When the version was made; its files carry this time, in each instance the same."""
    bytecode: list[int] = []
    """Bytes that each module was compiled to, which come before all modules; empty: none were."""
    compiles: bool = False
    """Nothing is run: the modules are compiled, and BODY frames on stream 0 bring what comes of
    each, behind its length in ``LENGTH_SIZE`` bytes."""


class Ready(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The script is loaded."""

    kind: _Name
    """``worker``, ``asgi`` or ``wsgi``."""
    concurrent: bool
    """False: one request at a time (synchronous code)."""
    handlers: Annotated[list[_Name], Meta(max_length=64)]


class Failed(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The script could not be loaded."""

    reason: _Name
    """``code`` (its top level raised), ``entrypoint`` (nothing to call), ``cpu`` or ``memory``."""
    name: _Name
    message: _Message
    stack: _Stack
    file: _Message | None
    line: int | None


class RequestHead(msgspec.Struct, array_like=True, frozen=True):
    """An HTTP request, without its body."""

    method: str
    scheme: str
    authority: str
    """Host and port as the client named them."""
    path: bytes
    """Raw, still percent-encoded path."""
    query: bytes
    headers: HeaderList
    """Lower-case names, latin-1 values."""
    client: tuple[str, int] | None
    mount: str
    """Path prefix under which the script is mounted: ASGI root_path, WSGI SCRIPT_NAME."""
    ray: str
    websocket: int = 0
    """Bytes of the longest message, when the client asks for a WebSocket; 0: it does not."""
    scheduled: tuple[str, int] | None = None
    """No client asks: a schedule does, with this expression, due at this time (ms since 1970)."""


class ResponseHead(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """An HTTP response, without its body."""

    status: int
    headers: _Fields


class Close(msgspec.Struct, array_like=True, frozen=True):
    """The end of a WebSocket, as one side said it or the other side finds it."""

    code: int
    reason: str


class LogRecord(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One line of a script's log. The frame's stream is the invocation, 0 when there is none."""

    level: _Name
    timestamp_ms: int
    message: Annotated[list[_Argument], Meta(max_length=MAX_ITEMS)]
    """What JSON can hold of each argument."""


class ExceptionRecord(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """An uncaught exception. ``kind`` is ``exception``, ``cpu``, ``memory`` or ``canceled``."""

    kind: _Name
    name: _Name
    message: _Message
    stack: _Stack
    timestamp_ms: int


class FetchHead(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A subrequest; its body follows on the same odd stream unless the frame is flagged END."""

    invocation: int
    """Stream of the invocation on whose account it goes."""
    method: _Name
    url: str
    headers: _Fields
    redirect: _Name = "follow"
    """``follow``, ``manual`` or ``error``, as in the Fetch standard."""


class FetchOwner(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of a FetchHead: enough to refuse it by."""

    invocation: int


class FetchedHead(msgspec.Struct, array_like=True, frozen=True):
    """The answer to a subrequest; its body follows on the same stream."""

    status: int
    status_text: str
    headers: HeaderList
    url: str
    redirected: bool


class FetchError(msgspec.Struct, array_like=True, frozen=True):
    """A subrequest that got no answer. ``code`` is stable, e.g. ``subrequest_limit``."""

    code: str
    message: str


_pack = HEADER.pack
_pack_answer = _ANSWER.pack
_unpack = HEADER.unpack_from
_make_frame = tuple.__new__  # NamedTuple's own __new__ is a Python function around it
_encoder = msgspec.msgpack.Encoder()
encode_metadata = _encoder.encode


def encode(frame_type: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Build one frame. Raises ProtocolError when the payload is longer than a frame may be."""
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"payload of {len(payload)} bytes exceeds {MAX_FRAME}")
    return _pack(len(payload), frame_type, flags, 0, stream) + payload


def encode_header(frame_type: int, stream: int, length: int, flags: int = 0) -> bytes:
    """Build the header of a frame whose payload is written beside it, not copied behind it."""
    return _pack(length, frame_type, flags, 0, stream)


def encode_struct(frame_type: int, stream: int, value: msgspec.Struct, flags: int = 0) -> bytes:
    """Build one metadata frame from a struct of this module. Raises ProtocolError when too long."""
    payload = _encoder.encode(value)
    if len(payload) > (MAX_FRAME if frame_type == FrameType.INIT else MAX_METADATA):
        raise ProtocolError(f"{type(value).__name__} of {len(payload)} bytes is too long")
    return _pack(len(payload), frame_type, flags, 0, stream) + payload


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


def may_close_with(code: int) -> bool:
    """Whether a close frame may carry this code (RFC 6455 §7.4 and the registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


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

_DECODERS: Final[dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        Hello,
        Init,
        Ready,
        Failed,
        RequestHead,
        ResponseHead,
        Close,
        LogRecord,
        ExceptionRecord,
        FetchHead,
        FetchOwner,
        FetchedHead,
        FetchError,
    )
}


def decode_struct(kind: type[T], payload: bytes) -> T:
    """Decode metadata into ``kind``. Raises ProtocolError when it does not fit."""
    try:
        value: T = _DECODERS[kind].decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ProtocolError(f"malformed {kind.__name__}: {error}") from None
    return value
