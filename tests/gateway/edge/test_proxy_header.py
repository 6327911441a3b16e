"""Headers of the PROXY protocol: what is one, what is none, what is not complete."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.proxy_header import MAX_BYTES, MAX_LINE, Origin, read_header
from gateway.errors import BadRequest

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4, TCP6, UDP4, UNIX, UNSPECIFIED = 0x11, 0x21, 0x12, 0x31, 0x00
PAIR4 = bytes([203, 0, 113, 9, 10, 0, 0, 1]) + struct.pack("!HH", 51234, 80)
PAIR6 = bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(16) + struct.pack("!HH", 51234, 443)
MAPPED = bytes(10) + b"\xff\xff" + bytes([203, 0, 113, 9]) + bytes(16) + struct.pack("!HH", 1, 80)


def binary(payload: bytes, family: int = TCP4, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


GOOD = [
    (b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 80\r\n", ("203.0.113.9", 51234), False),
    (b"PROXY TCP4 203.0.113.9 10.0.0.1 0 443\r\n", ("203.0.113.9", 0), True),
    (b"PROXY TCP6 2001:DB8::7 ::1 51234 443\r\n", ("2001:db8::7", 51234), True),
    (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 80\r\n", ("203.0.113.9", 1), False),
    (b"PROXY UNKNOWN\r\n", None, False),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 443\r\n", None, False),
    (binary(PAIR4), ("203.0.113.9", 51234), False),
    (binary(PAIR4 + b"\x04\x00\x01x" + bytes(300)), ("203.0.113.9", 51234), False),
    (binary(PAIR4 + b"\x04\x00\x00\x20\x00\x05\x01" + bytes(4)), ("203.0.113.9", 51234), True),
    (binary(PAIR4 + b"\x20\x00\x05\x00" + bytes(4)), ("203.0.113.9", 51234), False),
    (binary(PAIR4 + b"\x20\xff\xff"), ("203.0.113.9", 51234), False),
    (binary(PAIR4 + b"\x04\xff\xff\x20"), ("203.0.113.9", 51234), False),
    (binary(PAIR6, TCP6), ("2001:db8::7", 51234), True),
    (binary(MAPPED, TCP6), ("203.0.113.9", 1), False),
    (binary(b"", UNSPECIFIED, 0x20), None, False),
    (binary(PAIR4, TCP4, 0x20), None, False),
    (binary(b"what it is", 0xFF, 0x20), None, False),
    (binary(b"", UNSPECIFIED), None, False),
    (binary(bytes(216), UNIX), None, False),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"proxy TCP4 203.0.113.9 10.0.0.1 51234 80\r\n",
    b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 80\n" + bytes(MAX_LINE),
    b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 80 \r\n",
    b"PROXY TCP4  203.0.113.9 10.0.0.1 51234 80\r\n",
    b"PROXY TCP4\t203.0.113.9 10.0.0.1 51234 80\r\n",
    b"PROXY TCP4 203.0.113.9 10.0.0.1 51234\r\n",
    b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 65536\r\n",
    b"PROXY TCP4 203.0.113.9 10.0.0.1 051234 80\r\n",
    b"PROXY TCP4 203.0.113.9 10.0.0.1 -1 80\r\n",
    b"PROXY TCP4 203.0.113.009 10.0.0.1 51234 80\r\n",
    b"PROXY TCP4 203.0.113.256 10.0.0.1 51234 80\r\n",
    b"PROXY TCP4 203.0.113 10.0.0.1 51234 80\r\n",
    b"PROXY TCP4 ::1 ::1 51234 80\r\n",
    b"PROXY TCP6 203.0.113.9 10.0.0.1 51234 80\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 51234 80\r\n",
    b"PROXY UDP4 203.0.113.9 10.0.0.1 51234 80\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN \x00\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWN " + b"a" * MAX_LINE,
    SIGNATURE + b"\x11\x11\x00\x0c" + PAIR4,
    SIGNATURE + b"\x22\x11\x00\x0c" + PAIR4,
    SIGNATURE + b"\x31\x11\x00\x0c" + PAIR4,
    binary(PAIR4[:-1]),
    binary(PAIR4, TCP6),
    binary(PAIR4, UDP4),
    binary(bytes(215), UNIX),
    binary(bytes(400), 0x41),
    binary(PAIR4 + bytes(MAX_BYTES)),
    binary(bytes(0xFFFF), UNSPECIFIED, 0x20)[:16],
]


@pytest.mark.parametrize(("header", "client", "secure"), GOOD)
def test_a_header_names_the_client_and_nothing_of_what_follows_is_read(
    header: bytes, client: tuple[str, int] | None, secure: bool
) -> None:
    assert read_header(header) == Origin(client, secure, len(header))
    assert read_header(header + header) == Origin(client, secure, len(header))
    for size in range(len(header)):
        assert read_header(header[:size]) is None


@pytest.mark.parametrize("header", BAD)
def test_what_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(BadRequest):
        read_header(header)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]))
def test_any_bytes_are_a_header_part_of_one_or_refused(data: bytes, start: bytes) -> None:
    try:
        origin = read_header(start + data)
    except BadRequest:
        return
    if origin is None:
        assert len(start + data) < MAX_BYTES
    else:
        assert origin.size <= len(start + data)
