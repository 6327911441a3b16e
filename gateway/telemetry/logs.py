"""The platform's own log: the standard library's, with fields, as text for people or as JSON."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import IO, Any, Final

import msgspec

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# They log every URL at INFO: the tenants' subrequests, with what their queries carry.
_QUIET: Final = ("httpx", "httpcore", "asyncio")


def configure_logging(
    json: bool, *, level: str = "INFO", stream: IO[str] | None = None
) -> logging.Handler:
    """Send every logger's records to ``stream`` (standard error); returns the handler in place.

    Called again it replaces what it set before.
    """
    handler = _OurHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if json else TextFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _OurHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.setLevel(logging.NOTSET)
        theirs.propagate = True
    return handler


class _OurHandler(logging.StreamHandler[IO[str]]):
    """Marks the handler that configure_logging may replace."""


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, then the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        document: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in _fields(record).items():
            document.setdefault(key, value)
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        text = msgspec.json.encode(document, enc_hook=str).decode("utf-8")
        return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class TextFormatter(logging.Formatter):
    """``time LEVEL logger: message key=value …``, on one line but for tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        fields = "".join(f" {key}={_shown(value)}" for key, value in _fields(record).items())
        message = record.getMessage().replace("\n", "\\n")
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message}{fields}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", line)


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not re.search(r"[\s\"=]", text) else repr(text)
