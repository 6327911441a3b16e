"""WebSocket clients: a real one, and one that writes its own frames."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.raw import LATE, Wire, wire

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The answer to KEY, from RFC 6455 §1.3."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def client(port: int, name: str, path: str = "/", **options: Any) -> ClientConnection:
    """A real client's connection to a script; close it."""
    options = {"compression": None, "ping_interval": None, "max_size": None, **options}
    sock = socket.create_connection(("127.0.0.1", port), timeout=LATE)
    try:
        opened: ClientConnection = connect(
            f"ws://{name}.localhost:{port}{path}", sock=sock, **options
        )
        return opened
    except BaseException:
        sock.close()
        raise


def closed_with(connection: ClientConnection) -> tuple[int, str]:
    """Read until the close; its code and reason. 1006 when there is none."""
    try:
        while True:
            connection.recv(timeout=LATE)
    except ConnectionClosed as error:
        return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")


class Frame(NamedTuple):
    """One frame of the server's."""

    opcode: int
    payload: bytes
    last: bool

    @property
    def code(self) -> int:
        """Of a close."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2]) if self.payload else 1005


def frame(opcode: int, payload: bytes = b"", *, last: bool = True, masked: bool = True) -> bytes:
    """A frame as a client writes it."""
    # A mask of zeros leaves the payload as it is.
    return head(opcode, len(payload), last=last, masked=masked) + payload


def head(opcode: int, size: int, *, last: bool = True, masked: bool = True) -> bytes:
    """The head of a frame, with a mask of zeros."""
    first, bit = opcode | (0x80 if last else 0), 0x80 if masked else 0
    if size < 126:
        start = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        start = struct.pack("!BBH", first, bit | 126, size)
    else:
        start = struct.pack("!BBQ", first, bit | 127, size)
    return start + (bytes(4) if masked else b"")


class RawSocket:
    """A WebSocket whose client writes what it likes."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._read = wire._file.read

    def send(self, *frames: bytes) -> None:
        self.wire.send(b"".join(frames))

    def frame(self) -> Frame:
        """The server's next frame."""
        first, second = self._read(2)
        assert not second & 0x80, "a server must not mask"
        size = second
        if size == 126:
            size = int.from_bytes(self._read(2))
        elif size == 127:
            size = int.from_bytes(self._read(8))
        return Frame(first & 15, self._read(size), bool(first & 0x80))

    def closed(self) -> int:
        """Read until the server closes; with which code."""
        while (frame := self.frame()).opcode != CLOSE:
            pass
        return frame.code


def upgrade(name: str, *more: bytes, path: bytes = b"/", key: bytes = KEY) -> bytes:
    """The head of a handshake."""
    lines = (
        b"GET %s HTTP/1.1" % path,
        b"Host: %s.localhost" % name.encode(),
        b"Upgrade: websocket",
        b"Connection: keep-alive, Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: %s" % key,
        *more,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"


@contextmanager
def raw_socket(port: int, name: str, *more: bytes) -> Iterator[RawSocket]:
    """An open WebSocket to a script, for as long as the block."""
    with wire(port) as connection:
        connection.send(upgrade(name, *more))
        lines = []
        while (line := connection._file.readline()) not in (b"\r\n", b""):
            lines.append(line)
        assert lines[0].startswith(b"HTTP/1.1 101 "), lines
        assert f"sec-websocket-accept: {ACCEPT}\r\n".encode() in lines
        yield RawSocket(connection)
