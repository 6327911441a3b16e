"""Header rules: what may go on the wire, checked in the tenant's own frame."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPMessage
from typing import Any

from sandbox.payloads import HeaderList

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(rb"[\r\n\0]")
_known_names: dict[str | bytes, bytes] = {}
"""Names found valid before, in the form the wire wants."""


class Headers(HTTPMessage):
    """Headers by case-insensitive name; setting replaces, ``append`` adds another."""

    def __init__(self, headers: Any = None) -> None:
        super().__init__()
        for name, value in encode_pairs(headers or ()):
            self.append(name.decode("latin-1"), value.decode("latin-1"))

    @classmethod
    def of(cls, pairs: HeaderList) -> Headers:
        """Wrap pairs that are known to be valid."""
        headers = cls()
        for name, value in pairs:
            headers.append(name.decode("latin-1"), value.decode("latin-1"))
        return headers

    def __setitem__(self, name: str, value: Any) -> None:
        del self[name]
        self.append(name, value)

    def append(self, name: str, value: Any) -> None:
        """Add a header beside those of the same name."""
        super().__setitem__(name, value)

    def set(self, name: str, value: Any) -> None:
        """Replace every header of that name."""
        self[name] = value

    def delete(self, name: str) -> None:
        """Remove every header of that name."""
        del self[name]

    def has(self, name: str) -> bool:
        """Say whether there is one of that name."""
        return name in self


def encode_pairs(headers: Any) -> HeaderList:
    """Make the wire's list of a mapping, Headers or pairs of str or bytes.

    Raises TypeError or ValueError when HTTP does not allow a name or a value.
    """
    pairs = headers.items() if isinstance(headers, Mapping | HTTPMessage) else _checked(headers)
    return [(_name(name), _value(name, value)) for name, value in pairs]


def _checked(headers: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for pair in headers:
        try:
            name, value = pair
        except (TypeError, ValueError):
            raise TypeError(f"a header is a (name, value) pair, not {pair!r:.80}") from None
        yield name, value


def _name(name: Any) -> bytes:
    known = _known_names.get(name) if isinstance(name, str | bytes) else None
    if known is not None:
        return known
    if not isinstance(name, str | bytes):
        raise TypeError(f"a header name is a str, not {type(name).__name__}")
    raw = name.encode("utf-8", "replace") if isinstance(name, str) else bytes(name)
    if not _NAME.fullmatch(raw):
        raise ValueError(f"invalid header name {name!r:.80}")
    raw = raw.lower()
    if len(_known_names) < 1024:
        _known_names[name] = raw
    return raw


def _value(name: Any, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            raw = value.encode("latin-1")
        except UnicodeEncodeError:
            raw = value.encode("utf-8", "surrogateescape")
    elif isinstance(value, bytes):
        raw = value
    elif isinstance(value, int | float):
        raw = str(value).encode()
    else:
        raise TypeError(f"the value of header {name!r} is a {type(value).__name__}, not a str")
    if _BAD_VALUE.search(raw):
        raise ValueError(f"the value of header {name!r} contains CR, LF or NUL")
    return raw.strip(b" \t")


def check_status(status: Any) -> int:
    """Return a status the platform can answer with. Raises TypeError or ValueError."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"a response status is an int, not {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"response status {int(status)} is outside of 200 to 599")
    return int(status)
