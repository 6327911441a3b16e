"""What frames of metadata carry: one struct for each kind, a msgspec MessagePack array on the wire.

Both ends of the wire use this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from sandbox.errors import ProtocolError
from sandbox.protocol import HEADER, MAX_FRAME, MAX_METADATA, FrameType

T = TypeVar("T", bound=msgspec.Struct)

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
MAX_CLOSE_REASON: Final = 123
"""Bytes of the reason with which a WebSocket is closed."""
NO_CODE: Final = 1005
"""Stands for a close without a code."""
LOST: Final = 1006
"""Stands for a connection that ended without a close."""

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
_encoder = msgspec.msgpack.Encoder()
encode_metadata = _encoder.encode
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


def encode_struct(frame_type: int, stream: int, value: msgspec.Struct, flags: int = 0) -> bytes:
    """Build one metadata frame from a struct of this file. Raises ProtocolError when too long."""
    payload = _encoder.encode(value)
    if len(payload) > (MAX_FRAME if frame_type == FrameType.INIT else MAX_METADATA):
        raise ProtocolError(f"{type(value).__name__} of {len(payload)} bytes is too long")
    return _pack(len(payload), frame_type, flags, 0, stream) + payload


def decode_struct(kind: type[T], payload: bytes) -> T:
    """Decode metadata into ``kind``. Raises ProtocolError when it does not fit."""
    try:
        value: T = _DECODERS[kind].decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ProtocolError(f"malformed {kind.__name__}: {error}") from None
    return value


def may_close_with(code: int) -> bool:
    """Whether a close frame may carry this code (RFC 6455 §7.4 and the registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
