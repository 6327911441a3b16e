"""A reader of HTTP/1.1 that follows RFC 9112 to the letter: what a connection's bytes ask for.

It shares nothing with the node's parser. Three things that cannot move a boundary are read as
leniently as there: empty lines before a request, more than one space around its target, names and
values of chunk extensions that are empty.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST = re.compile(rb"(%b+) +([\x21-\x7e]+) +HTTP/1\.([01])" % _TOKEN)
_NAME = re.compile(_TOKEN + rb"+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]+")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK = re.compile(
    rb"([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*%b*(?:[ \t]*=[ \t]*(?:%b*|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
_NOT_IN_TRAILERS = {
    b"connection",
    b"proxy-connection",
    b"upgrade",
    b"content-length",
    b"transfer-encoding",
}

Fields = list[tuple[bytes, bytes]]


class End(Enum):
    """How the bytes end."""

    OPEN = "another request may follow"
    LAST = "the last request of the connection was read"
    TORN = "a request is not complete"
    NONE = "what follows is no HTTP"


class Asked(NamedTuple):
    """A request that is whole."""

    method: bytes
    target: bytes
    body: bytes


class _Torn(Exception):
    """More bytes are needed."""


class _None(Exception):
    """This is no HTTP."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def request(self) -> tuple[Asked, bool] | None:
        """The next one, and whether another may follow; None at the end."""
        while self._data[self._at : self._at + 1] in (b"\r", b"\n"):
            self._at += 1
        if self._at == len(self._data):
            return None
        line = _REQUEST.fullmatch(self._line())
        if line is None:
            raise _None
        fields = self._fields()
        body = self._body(fields, old=line[3] == b"0")
        return Asked(line[1], line[2], body), _stays(fields, old=line[3] == b"0")

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            raise _Torn
        line, self._at = self._data[self._at : end], end + 1
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            raise _None
        return line[:-1]

    def _fields(self) -> Fields:
        fields = []
        while line := self._line():
            name, colon, value = line.partition(b":")
            value = value.strip(b" \t")
            if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
                raise _None
            fields.append((name.lower(), value))
        return fields

    def _body(self, fields: Fields, *, old: bool) -> bytes:
        lengths = _all(fields, b"content-length")
        codings = _all(fields, b"transfer-encoding")
        if codings:
            if old or lengths or [coding.lower() for coding in codings] != [b"chunked"]:
                raise _None
            return self._chunks()
        if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
            raise _None
        return self._take(int(lengths[0])) if lengths else b""

    def _chunks(self) -> bytes:
        body = b""
        while True:
            head = _CHUNK.fullmatch(self._line())
            if head is None:
                raise _None
            size = int(head[1], 16)
            if not size:
                break
            body += self._take(size)
            if self._take(2) != b"\r\n":
                raise _None
        if any(name in _NOT_IN_TRAILERS for name, _ in self._fields()):
            raise _None
        return body

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise _Torn
        self._at += size
        return taken


def _all(fields: Fields, name: bytes) -> list[bytes]:
    return [value for known, value in fields if known == name]


def _stays(fields: Fields, *, old: bool) -> bool:
    said = b",".join(_all(fields, b"connection")).lower()
    tokens = {token.strip() for token in said.split(b",")}
    # No standard has it, and who says so hangs up.
    leaves = b"close" in tokens or _all(fields, b"proxy-connection") == [b"close"]
    return not leaves and (not old or b"keep-alive" in tokens)


def read(data: bytes) -> tuple[list[Asked], End]:
    """All that a connection's bytes ask for, and how they end."""
    reader, asked = _Reader(data), []
    try:
        while (found := reader.request()) is not None:
            request, stays = found
            asked.append(request)
            if not stays:
                return asked, End.LAST
    except _Torn:
        return asked, End.TORN
    except _None:
        return asked, End.NONE
    return asked, End.OPEN
