"""Raw bytes to a listener and back: what no HTTP client would send."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LATE = 60.0
"""Seconds after which a connection that should have said something counts as stuck."""


class Answer:
    """One answer, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.fields = response.getheaders()
        try:
            self.body = response.read()
            self.whole = True
        except (http.client.IncompleteRead, ConnectionResetError) as error:
            self.body = getattr(error, "partial", b"")
            self.whole = False

    def all(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        return [value for known, value in self.fields if known.lower() == name]

    def get(self, name: str) -> str:
        """The one value of a field; empty when there is none."""
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else ""

    @property
    def code(self) -> str:
        return self.get("waypost-code")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Stream:
    """What HTTPResponse takes for a socket; it must not read past its answer."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, _mode: str) -> _Stream:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """The connection is closed by its owner."""


class Wire:
    """A connection as a client sees it that writes its own bytes."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", port)
        self.socket = socket.create_connection(address, timeout=LATE, source_address=(source, 0))
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send; a peer that has closed already is no error of the sender's."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; ``method`` is what was asked with."""
        response = http.client.HTTPResponse(_Stream(self._file), method=method)  # type: ignore[arg-type]
        response.begin()
        return Answer(response)

    def answers(self) -> list[Answer]:
        """All answers until the server closes the connection."""
        found = []
        while self._file.peek(1):
            found.append(self.answer())
        return found

    def rest(self) -> bytes:
        """All bytes until the server's end of the connection, which may be a reset."""
        found = b""
        try:
            while piece := self._file.read1():
                found += piece
        except ConnectionResetError:
            pass
        return found

    def ended(self) -> bool:
        """Wait for the server's end of the connection; False when it says something instead."""
        try:
            return not self._file.read(1)
        except ConnectionResetError:
            return True

    def reset_on_close(self) -> None:
        """Leave without a word: a mere end of sending may come from a client that still reads."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextmanager
def wire(port: int, source: str = "127.0.0.1") -> Iterator[Wire]:
    """A connection for as long as the block."""
    connection = Wire(port, source)
    try:
        yield connection
    finally:
        connection.close()


def ask(port: int, data: bytes) -> Answer:
    """Send bytes; the first answer."""
    with wire(port) as connection:
        connection.send(data)
        return connection.answer()


def ask_all(port: int, data: bytes) -> list[Answer]:
    """Send bytes that end in a closed connection; every answer."""
    with wire(port) as connection:
        connection.send(data)
        return connection.answers()
