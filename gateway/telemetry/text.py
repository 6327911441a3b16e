"""Text that tenants and clients wrote, made safe to print."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sandbox.payloads import LogRecord

# DEL, C1 controls and the marks that reorder or break lines. JSON already escapes C0.
_UNSAFE: Final = (
    *range(0x7F, 0xA0),
    *(0x200E, 0x200F),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)


def _by_lead() -> dict[bytes, list[tuple[bytes, bytes]]]:
    """What they are written as, by all bytes but the last, without which none need be sought."""
    known: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for number in _UNSAFE:
        character = chr(number).encode()
        known.setdefault(character[:-1], []).append((character, b"\\u%04x" % number))
    return known


_ESCAPES: Final = _by_lead()


def escape_controls(document: bytes) -> bytes:
    r"""Write control and reordering characters of a JSON document as ``\uXXXX``.

    Its meaning stays the same, and printing it cannot move a cursor or hide text.
    """
    if document.isascii() and b"\x7f" not in document:
        return document
    # One kind after the other: a document may be nothing else, and a step of Python for each of
    # them would take a hundred times as long.
    for lead, escapes in _ESCAPES.items():
        if lead in document:
            for character, escape in escapes:
                document = document.replace(character, escape)
    return document


def log_bytes(logs: list[LogRecord]) -> int:
    """Bytes of text in these log lines."""
    return sum(_size(part) for record in logs for part in record.message)


def _size(part: Any) -> int:
    if isinstance(part, str):
        return len(part) if part.isascii() else len(part.encode("utf-8", "replace"))
    try:
        return len(msgspec.json.encode(part))
    except (TypeError, ValueError, RecursionError, OverflowError):
        return 0
