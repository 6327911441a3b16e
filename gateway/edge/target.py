"""Request targets: what a request line may ask for (RFC 9112 §3.2), and of whom."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.errors import BadRequest, MethodNotAllowed

MAX_URL: Final = 16 * 1024
"""Longest path and query together, bytes."""
MAX_DIGITS: Final = 20
"""Of a Content-Length, leading zeros included: those of 64 bits."""
_SCHEMES: Final = frozenset({b"http", b"https"})
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
# CONNECT would make a tunnel of the node, TRACE shows scripts the cookies that they must not read.
# The others belong to RTSP and Icecast, which the parser also speaks.
REFUSED_METHODS: Final = frozenset(
    {
        "CONNECT",
        "TRACE",
        "PRI",
        "SOURCE",
        "DESCRIBE",
        "ANNOUNCE",
        "SETUP",
        "PLAY",
        "PAUSE",
        "TEARDOWN",
        "GET_PARAMETER",
        "SET_PARAMETER",
        "REDIRECT",
        "RECORD",
        "FLUSH",
    }
)


class Target(NamedTuple):
    """Where a request goes, in its raw bytes."""

    path: bytes
    query: bytes
    authority: bytes
    """Empty unless the target is an absolute URL."""


def parse_target(raw: bytes) -> Target:
    """Take a request target apart. Raises BadRequest when it is not a path or an http(s) URL."""
    authority = b""
    rest = raw
    if not raw.startswith(b"/"):
        authority, rest = _split_absolute(raw)
    if b"#" in rest:
        raise BadRequest("The request target has a fragment; clients keep that to themselves.")
    path, _, query = rest.partition(b"?")
    return Target(path or b"/", query, authority)


def _split_absolute(raw: bytes) -> tuple[bytes, bytes]:
    scheme, mark, rest = raw.partition(b"://")
    if not mark or scheme.lower() not in _SCHEMES:
        raise BadRequest("The request target is neither a path nor an http URL.")
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    if not authority or b"@" in authority:
        raise BadRequest("The request target names no host, or a user.")
    return authority, rest[len(authority) :]


def same_authority(authority: bytes, host: bytes) -> bool:
    """Whether a target's authority and a Host field name the same place."""
    return _bare(authority) == _bare(host)


def _bare(authority: bytes) -> bytes:
    return authority.lower().removesuffix(b":80").removesuffix(b":443")


def check_framing(
    method: str,
    version: str,
    transfer_encoding: bytes | None,
    content_length: bytes | None = None,
) -> None:
    """Look at what the parser lets through. Raises BadRequest or MethodNotAllowed.

    A front end that frames a message in another way than we do would take part of one client's
    body for the next client's request.
    """
    if version not in ("1.1", "1.0"):
        raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if method in REFUSED_METHODS:
        raise MethodNotAllowed(f"The method {method} is not served here.")
    if content_length is not None and len(content_length) > MAX_DIGITS:
        raise BadRequest(f"A Content-Length may have {MAX_DIGITS} digits.")
    if transfer_encoding is None:
        return
    if version == "1.0":
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding.")
    if transfer_encoding.lower() != b"chunked":
        raise BadRequest("The only Transfer-Encoding understood here is chunked.")
