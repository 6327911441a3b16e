"""Making foreign text safe to print on a terminal."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]"
)
_SIZES = ("B", "KiB", "MiB", "GiB")


def safe(text: object) -> str:
    """Text with control, direction and surrogate characters spelled out; newline and tab stay.

    A tenant's log may hold escape sequences that retitle, recolour or rewrite an operator's
    terminal, or that hide part of a line.
    """
    return _UNSAFE.sub(lambda match: _escape(match.group()), str(text))


def one_line(text: object, *, length: int = 200) -> str:
    """Safe text on one line, cut at ``length`` characters."""
    line = " ".join(safe(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def size(count: int) -> str:
    """A number of bytes for people, e.g. ``3.4 KiB``."""
    value = float(count)
    for unit in _SIZES:
        if value < 1024 or unit == _SIZES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def counted(count: int, noun: str) -> str:
    """A count with its noun, e.g. ``1 route``, ``2 routes``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def moment(value: object) -> str:
    """An ISO time as people read it, to the second, e.g. ``2026-11-20 10:00:00``."""
    return str(value or "")[:19].replace("T", " ")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
