"""The wire between gateway and instance: frames, and the typed metadata inside them.

Sans-IO: bytes in, frames out; both ends use this file. A frame is a 12-byte little-endian header
(payload length, type, flags, reserved, stream) and its payload. Metadata travels as msgspec
MessagePack arrays, bodies as raw chunks (msgspec's encoder crashes when it cannot allocate under a
memory limit). Stream 0 is the connection itself; the gateway opens even streams (invocations), the
instance odd ones (subrequests).

Who sends what::

    gateway → instance   INIT BODY*(0)   REQUEST BODY*   FETCHED BODY* | FETCH_ERROR
                         CREDIT   CANCEL   DRAIN
    instance → gateway   HELLO   READY | FAILED   RESPONSE BODY* | EXCEPTION   DONE
                         LOG   FETCH BODY*   CREDIT   CANCEL

An invocation's stream lives from REQUEST to DONE. Before DONE the instance answers with RESPONSE
and BODY frames, the last flagged END, or with one EXCEPTION. Each direction of a body starts with
``WINDOW`` bytes of credit; the receiver returns credit as it consumes.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from sandbox.errors import ProtocolError

T = TypeVar("T", bound=msgspec.Struct)

VERSION: Final = 1
HEADER: Final = struct.Struct("<IBBHI")
HEADER_SIZE: Final = HEADER.size
MAX_FRAME: Final = 1 << 20
"""Longest payload of a frame, bytes; checked at the header, before anything is buffered."""
MAX_METADATA: Final = 256 * 1024
"""Longest payload of a metadata frame, bytes."""
CHUNK: Final = 64 * 1024
"""Body bytes a sender puts in one frame at most."""
WINDOW: Final = 256 * 1024
"""Body bytes a sender may have unacknowledged on one stream in one direction."""
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


class Frame(NamedTuple):
    """One decoded frame; ``type`` is a plain int so that comparing costs nothing."""

    type: int
    flags: int
    stream: int
    payload: bytes


HeaderList = list[tuple[bytes, bytes]]


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


class Ready(msgspec.Struct, array_like=True, frozen=True):
    """The script is loaded."""

    kind: str
    """``worker``, ``asgi`` or ``wsgi``."""
    concurrent: bool
    """False: one request at a time (synchronous code)."""
    handlers: list[str]


class Failed(msgspec.Struct, array_like=True, frozen=True):
    """The script could not be loaded."""

    reason: str
    """``code`` (its top level raised), ``entrypoint`` (nothing to call), ``cpu`` or ``memory``."""
    name: str
    message: str
    stack: str
    file: str | None
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


class ResponseHead(msgspec.Struct, array_like=True, frozen=True):
    """An HTTP response, without its body."""

    status: int
    headers: HeaderList


class LogRecord(msgspec.Struct, array_like=True, frozen=True):
    """One line of a script's log. The frame's stream is the invocation, 0 when there is none."""

    level: str
    timestamp_ms: int
    message: list[Any]


class ExceptionRecord(msgspec.Struct, array_like=True, frozen=True):
    """An uncaught exception. ``kind`` is ``exception``, ``cpu``, ``memory`` or ``canceled``."""

    kind: str
    name: str
    message: str
    stack: str
    timestamp_ms: int


class FetchHead(msgspec.Struct, array_like=True, frozen=True):
    """A subrequest; its body follows on the same odd stream unless the frame is flagged END."""

    invocation: int
    """Stream of the invocation on whose account it goes."""
    method: str
    url: str
    headers: HeaderList
    redirect: str = "follow"
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
_unpack = HEADER.unpack_from
_make_frame = tuple.__new__  # NamedTuple's own __new__ is a Python function around it
_encoder = msgspec.msgpack.Encoder()
encode_metadata = _encoder.encode


def encode(frame_type: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Build one frame. Raises ProtocolError when the payload is longer than a frame may be."""
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"payload of {len(payload)} bytes exceeds {MAX_FRAME}")
    return _pack(len(payload), frame_type, flags, 0, stream) + payload


def encode_struct(frame_type: int, stream: int, value: msgspec.Struct, flags: int = 0) -> bytes:
    """Build one metadata frame from a struct of this module."""
    return encode(frame_type, stream, _encoder.encode(value), flags)


def encode_credit(stream: int, amount: int) -> bytes:
    """Return ``amount`` bytes of credit to the sender of a body."""
    return _pack(4, FrameType.CREDIT, 0, 0, stream) + amount.to_bytes(4, "little")


def decode_credit(payload: bytes) -> int:
    """Read a CREDIT payload: bytes granted. Raises ProtocolError when malformed."""
    if len(payload) != 4:
        raise ProtocolError(f"credit frame of {len(payload)} bytes, expected 4")
    return int.from_bytes(payload, "little")


_LONG_FRAMES: Final = frozenset({FrameType.BODY, FrameType.INIT})


class Decoder:
    """Bytes in, frames out. Buffers at most one partial frame."""

    def __init__(self, allowed: frozenset[int]) -> None:
        self._allowed = allowed
        self._rest = b""

    @property
    def buffered(self) -> int:
        """Bytes of the partial frame held back."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they came; return every frame now complete.

        Raises ProtocolError at the first header that is too long, of a type that this peer may not
        send, or with a reserved bit set.
        """
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        offset, size = 0, len(data)
        while size - offset >= HEADER_SIZE:
            length, frame_type, flags, reserved, stream = _unpack(data, offset)
            if frame_type not in self._allowed or reserved or flags > END:
                raise ProtocolError(
                    f"frame type {frame_type} with flags {flags} is not allowed here"
                )
            if length > MAX_FRAME or (length > MAX_METADATA and frame_type not in _LONG_FRAMES):
                raise ProtocolError(f"frame of {length} bytes is too long")
            end = offset + HEADER_SIZE + length
            if end > size:
                break
            payload = data[offset + HEADER_SIZE : end]
            frames.append(_make_frame(Frame, (frame_type, flags, stream, payload)))
            offset = end
        self._rest = data[offset:]
        return frames


FROM_INSTANCE: Final = frozenset(
    {
        FrameType.HELLO,
        FrameType.READY,
        FrameType.FAILED,
        FrameType.RESPONSE,
        FrameType.BODY,
        FrameType.LOG,
        FrameType.EXCEPTION,
        FrameType.DONE,
        FrameType.FETCH,
        FrameType.CREDIT,
        FrameType.CANCEL,
    }
)
FROM_GATEWAY: Final = frozenset(
    {
        FrameType.INIT,
        FrameType.REQUEST,
        FrameType.BODY,
        FrameType.FETCHED,
        FrameType.FETCH_ERROR,
        FrameType.CREDIT,
        FrameType.CANCEL,
        FrameType.DRAIN,
    }
)

_DECODERS: Final[dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        Hello,
        Init,
        Ready,
        Failed,
        RequestHead,
        ResponseHead,
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
