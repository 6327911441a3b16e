"""The header of the PROXY protocol, versions 1 and 2: whose connection a proxy passes on.

As https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt has it. Nothing is taken with a grain
of salt: what is not exactly a header is refused, for the next byte belongs to the client.
"""

from __future__ import annotations

import re
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from gateway.errors import BadRequest

MAX_LINE: Final = 107
"""Bytes of a header in version 1, its line end included."""
MAX_BYTES: Final = 4096
"""Bytes of a header in version 2, with what it says beside the addresses."""
HTTPS_PORT: Final = 443
"""HTTP that came to a proxy's port of this number came in TLS."""
_TLS: Final = 0x20
"""The one thing a header says beside the addresses that is read: of the client's TLS."""
_WITH_TLS: Final = 0x01

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) ([0-9]{1,5}) ([0-9]{1,5})"
)
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [\x20-\x7e]*)?")
_FIXED: Final = struct.Struct("!12sBBH")
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_UNIX: Final = 0x31
_UNSPECIFIED: Final = 0x00
# Bytes that the addresses take; those of what has no address that means anything here are skipped.
_ADDRESSES: Final = {_TCP4: 12, _TCP6: 36, _UNIX: 216, _UNSPECIFIED: 0}


class Itself(NamedTuple):
    """The address of a trusted proxy that speaks for itself, or for somebody it cannot name."""

    host: str
    port: int


class Origin(NamedTuple):
    """What a header says."""

    client: tuple[str, int] | None
    """Address and port of the client; None when the header names nobody."""
    secure: bool
    """The client spoke TLS with the proxy."""
    size: int
    """Bytes of the header."""


def read_header(data: bytes) -> Origin | None:
    """Read a header from the first bytes of a connection; None while it is not complete.

    Raises BadRequest when they are no header.
    """
    if data.startswith(_V1[: len(data)]):
        return _read_line(data)
    if data.startswith(_V2[: len(data)]):
        return _read_binary(data)
    raise BadRequest("A trusted proxy's connection must begin with a PROXY protocol header.")


def _read_line(data: bytes) -> Origin | None:
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise _malformed("its line does not end")
        return None
    line = data[:end]
    if _UNKNOWN.fullmatch(line):
        return Origin(None, False, end + 2)
    match = _LINE.fullmatch(line)
    if match is None:
        raise _malformed("its line is not understood")
    family, source, destination, *ports = (part.decode("ascii") for part in match.groups())
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        client, _ = kind(source), kind(destination)
    except AddressValueError:
        raise _malformed("an address is none of its family") from None
    from_port, to_port = (_port(text) for text in ports)
    return Origin((_plain(client), from_port), to_port == HTTPS_PORT, end + 2)


def _port(text: str) -> int:
    port = int(text)
    if port > 0xFFFF or str(port) != text:
        raise _malformed("a port is none")
    return port


def _read_binary(data: bytes) -> Origin | None:
    if len(data) < _FIXED.size:
        return None
    _, command, family, length = _FIXED.unpack_from(data)
    size = _FIXED.size + length
    if size > MAX_BYTES:
        raise _malformed(f"it is longer than {MAX_BYTES} bytes")
    if command not in (_LOCAL, _PROXY):
        raise _malformed("its version or command is unknown")
    if command == _PROXY and length < _ADDRESSES.get(family, MAX_BYTES):
        raise _malformed("its addresses are cut short, or of a kind that carries no HTTP")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return Origin(None, False, size)
    wide = 4 if family == _TCP4 else 16
    source, _, port, to_port = struct.unpack_from(f"!{wide}s{wide}sHH", data, _FIXED.size)
    client = IPv4Address(source) if family == _TCP4 else IPv6Address(source)
    secure = to_port == HTTPS_PORT or _in_tls(data[_FIXED.size + _ADDRESSES[family] : size])
    return Origin((_plain(client), port), secure, size)


def _in_tls(beside: bytes) -> bool:
    at = 0
    while at + 4 <= len(beside):
        kind, length = struct.unpack_from("!BH", beside, at)
        if kind == _TLS and length:
            return bool(beside[at + 3] & _WITH_TLS)
        at += 3 + length
    return False


def _plain(address: IPv4Address | IPv6Address) -> str:
    """An address as text; an IPv4-mapped one is the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _malformed(why: str) -> BadRequest:
    return BadRequest(f"The PROXY protocol header is malformed: {why}.")
