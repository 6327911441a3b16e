"""Header rules: what of a client's request a tenant sees, what of a tenant's answer a client sees.

Hop-by-hop fields are those of RFC 9110 §7.6.1; field syntax is RFC 9110 §5.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Final

from gateway.errors import BadRequest, BadResponse, HeadersTooLarge
from gateway.model.http import HeaderList

MAX_HEADER_BYTES: Final = 128 * 1024
"""All names and values of one message together, bytes."""
MAX_HEADERS: Final = 256
"""Fields of one message."""
PLATFORM_PREFIX: Final = (b"waypost-", b"waypost_")
"""Fields only the platform writes, as clients may read them, too."""

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# ``Proxy`` becomes HTTP_PROXY in a WSGI environment, which HTTP clients obey ("httpoxy").
_NOT_FOR_TENANTS: Final = _HOP_BY_HOP | {b"proxy", b"http2-settings"}
# nginx, lighttpd, Apache and others in front take these for orders: to answer with a file or a
# location of theirs that no client may ask for.
_ORDERS: Final = frozenset(
    {
        b"x-accel-redirect",
        b"x-lighttpd-send-file",
        b"x-reproxy-file",
        b"x-reproxy-url",
        b"x-sendfile",
        b"x-sendfile2",
    }
)
# The server stamps each answer with the time itself.
_NOT_FROM_TENANTS: Final = (_HOP_BY_HOP - {b"connection"}) | {b"date"} | _ORDERS
BODILESS: Final = frozenset({204, 205, 304})
"""Statuses whose answers have no body."""
# One that came twice is read as its first value by some, as its last by others.
_SINGLE: Final = (b"host", b"authorization", b"content-type")
# A client must not remove, by naming it in Connection, what it could not have removed itself.
_KEPT: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"forwarded",
        b"host",
        b"origin",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DECIMAL: Final = re.compile(rb"[0-9]{1,18}")


class _Kind(Enum):
    KEEP = 0
    DROP = 1
    SINGLE = 2
    CONNECTION = 3


# What was decided for a name, so that the common ones cost one look-up; bounded, for clients may
# invent names.
_KINDS: dict[bytes, _Kind] = {
    b"connection": _Kind.CONNECTION,
    **dict.fromkeys(_SINGLE, _Kind.SINGLE),
}
_MAX_KINDS: Final = 2048
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"Keep-Alive", b"close"})


def _kind(name: bytes) -> _Kind:
    dropped = name in _NOT_FOR_TENANTS or b"_" in name or name.startswith(PLATFORM_PREFIX)
    kind = _Kind.DROP if dropped else _Kind.KEEP
    if len(_KINDS) < _MAX_KINDS and len(name) <= 64:
        _KINDS[name] = kind
    return kind


def clean_request_headers(raw: HeaderList) -> HeaderList:
    """What a tenant may see of a client's header fields. Names must be lower case already.

    Dropped: hop-by-hop fields and those that Connection names, ``waypost-*``, and names with an
    underscore, which WSGI cannot tell from a hyphen. Raises HeadersTooLarge, and BadRequest when
    there is more than one Host, Authorization or Content-Type.
    """
    if len(raw) > MAX_HEADERS:
        raise HeadersTooLarge(
            f"The request has {len(raw)} header fields; {MAX_HEADERS} may be sent."
        )
    size = 0
    seen: set[bytes] = set()
    connection = b""
    kept: HeaderList = []
    for field in raw:
        name, value = field
        size += len(name) + len(value)
        kind = _KINDS.get(name)
        if kind is None:
            kind = _kind(name)
        if kind is _Kind.KEEP:
            kept.append(field)
        elif kind is _Kind.SINGLE:
            if name in seen:
                title = name.decode("latin-1").title()
                raise BadRequest(f"The request has more than one {title} header.")
            seen.add(name)
            kept.append(field)
        elif kind is _Kind.CONNECTION and value not in _PLAIN_CONNECTION:
            connection += b"," + value
    if size > MAX_HEADER_BYTES:
        raise HeadersTooLarge(
            f"The request headers are {size} bytes; {MAX_HEADER_BYTES} may be sent."
        )
    return _without_named(kept, connection) if connection else kept


def asks_to_stay(raw: HeaderList) -> bool:
    """Whether an HTTP/1.0 client wants to use its connection again (RFC 9112 §C.2.2)."""
    listed = b",".join(value for name, value in raw if name == b"connection").lower()
    tokens = {token.strip() for token in listed.split(b",")}
    return b"keep-alive" in tokens and b"close" not in tokens


def _without_named(headers: HeaderList, connection: bytes) -> HeaderList:
    named = {token.strip().lower() for token in connection.split(b",")}
    named -= _KEPT
    named -= _HOP_BY_HOP
    named -= {b"", b"close"}
    return [field for field in headers if field[0] not in named] if named else headers


@lru_cache(maxsize=4096)
def _response_name(name: bytes) -> bytes | None:
    """Lower-case a field name; None for one that is not the tenant's to set."""
    if not _TOKEN.fullmatch(name):
        raise BadResponse("The worker answered with a header name that HTTP does not allow.")
    lowered = name.lower()
    if lowered in _NOT_FROM_TENANTS or lowered.startswith(PLATFORM_PREFIX):
        return None
    return lowered


def check_response(status: int, headers: HeaderList) -> HeaderList:
    """Validate the head of a tenant's answer; return the fields the client gets.

    Framing and platform fields are dropped, names lower-cased, Content-Length kept only when it is
    one decimal number and a body follows. Raises BadResponse.
    """
    if type(status) is not int or not 200 <= status <= 599:
        raise BadResponse(
            f"The worker answered with status {status!r:.40}; 200 to 599 are allowed."
        )
    if len(headers) > MAX_HEADERS:
        raise BadResponse(f"The worker answered with more than {MAX_HEADERS} header fields.")
    size = 0
    connection = b""
    lengths: list[bytes] = []
    checked: HeaderList = []
    for raw_name, raw_value in headers:
        size += len(raw_name) + len(raw_value)
        name = _response_name(raw_name)
        if name is None:
            continue
        value = raw_value.strip(b" \t")
        if _CONTROL.search(value):
            raise BadResponse("The worker answered with a control character in a header value.")
        if name == b"content-length":
            lengths.append(value)
        elif name == b"connection":
            connection += b"," + value
        else:
            checked.append((name, value))
    if size > MAX_HEADER_BYTES:
        raise BadResponse(f"The worker answered with headers over {MAX_HEADER_BYTES} bytes.")
    if connection:
        checked = _without_named(checked, connection)
    return _with_length(checked, lengths, status)


def _with_length(checked: HeaderList, lengths: list[bytes], status: int) -> HeaderList:
    if len(lengths) == 1 and status not in BODILESS and _DECIMAL.fullmatch(lengths[0]):
        checked.append((b"content-length", b"%d" % int(lengths[0])))
    return checked
