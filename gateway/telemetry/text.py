"""Text that tenants and clients wrote, made safe to print."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from sandbox.payloads import LogRecord

# DEL, C1 controls and the marks that reorder or break lines, as UTF-8. JSON already escapes C0.
_UNSAFE: Final = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)


def escape_controls(document: bytes) -> bytes:
    r"""Write control and reordering characters of a JSON document as ``\uXXXX``.

    Its meaning stays the same, and printing it cannot move a cursor or hide text.
    """
    if document.isascii() and b"\x7f" not in document:
        return document
    return _UNSAFE.sub(_escaped, document)


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match.group().decode("utf-8"))


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
