"""The opening handshake of a WebSocket (RFC 6455 §4.2), from a client that may send anything."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, NamedTuple

from gateway.edge.headers import check_response
from gateway.errors import BadRequest, BadResponse, UpgradeRequired
from gateway.model.http import HeaderList

VERSION: Final = b"13"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_UPGRADE: Final = b"upgrade"
_PROTOCOL: Final = b"sec-websocket-protocol"
_PREFIX: Final = b"sec-websocket-"


class Offer(NamedTuple):
    """What a client's handshake asks for."""

    accept: bytes
    """The proof that the handshake was understood."""
    protocols: tuple[bytes, ...]


def asks_for_websocket(headers: HeaderList) -> bool:
    """Whether ``Upgrade`` names WebSockets, alone. Names must be lower case already."""
    return [v.strip().lower() for n, v in headers if n == _UPGRADE] == [b"websocket"]


def check_offer(headers: HeaderList) -> Offer:
    """Read the handshake. Raises BadRequest, or UpgradeRequired for another version."""
    if _single(headers, b"sec-websocket-version") != VERSION:
        raise UpgradeRequired("WebSockets are served in version 13 (RFC 6455).")
    key = _single(headers, b"sec-websocket-key")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise BadRequest("Sec-WebSocket-Key is not 16 bytes in base64.")
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    listed = b",".join(value for name, value in headers if name == _PROTOCOL).split(b",")
    protocols = tuple(token.strip() for token in listed if token.strip())
    return Offer(base64.b64encode(digest), protocols)


def _single(headers: HeaderList, name: bytes) -> bytes:
    values = [value.strip() for known, value in headers if known == name]
    return values[0] if len(values) == 1 else b""


def answer_head(offer: Offer, headers: HeaderList, ray: bytes) -> bytes:
    """Write the 101 with the tenant's fields. Raises BadResponse for one that does not fit."""
    fields = check_response(200, headers)
    chosen = [value for name, value in fields if name == _PROTOCOL]
    if len(chosen) > 1 or any(value not in offer.protocols for value in chosen):
        raise BadResponse("The worker chose a subprotocol that the client did not offer.")
    kept = [
        (name, value)
        for name, value in fields
        if name == _PROTOCOL or not (name.startswith(_PREFIX) or name == b"content-length")
    ]
    kept.append((b"waypost-ray", ray))
    lines = b"".join(b"%s: %s\r\n" % field for field in kept)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %s\r\n%s\r\n" % (offer.accept, lines)
    )
