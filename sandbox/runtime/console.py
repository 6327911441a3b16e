"""What a script prints and logs becomes LOG frames of the invocation that did it."""

from __future__ import annotations

import io
import itertools
import logging
import math
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

from sandbox.payloads import MAX_DEPTH, MAX_ITEMS, LogRecord, encode_metadata
from sandbox.protocol import FrameType, encode
from sandbox.runtime.channel import Channel
from sandbox.runtime.context import current
from sandbox.runtime.trace import clean

MAX_TEXT = 16 * 1024
"""Bytes of one argument."""
_MAX_MESSAGE = 64 * 1024
_INT64 = 1 << 63


class _Plain:
    """Makes one argument fit for JSON, within a budget of items and bytes."""

    def __init__(self) -> None:
        self._items = MAX_ITEMS
        self._bytes = MAX_TEXT

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return what JSON can hold of ``value``; anything else becomes its string."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and -_INT64 <= value < _INT64:
            return int(value)
        if isinstance(value, float) and math.isfinite(value):
            return float(value)
        if isinstance(value, dict | list | tuple):
            return self._container(value, depth) if depth < MAX_DEPTH else "..."
        return self._text(value)

    def _container(self, value: Any, depth: int) -> Any:
        taken = list(itertools.islice(value, max(0, self._items)))
        self._items -= len(taken)
        if not isinstance(value, dict):
            return [self.of(item, depth + 1) for item in taken]
        return {self._text(key): self.of(value[key], depth + 1) for key in taken}

    def _text(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = f"<integer of {value.bit_length()} bits>"
        try:
            text = clean(str(value), max(64, self._bytes))
        except Exception as error:
            text = f"<{type(value).__name__} whose str() raised {type(error).__name__}>"
        self._bytes -= len(text)
        return text


def json_safe(value: Any) -> Any:
    """Return what JSON can hold of ``value``, capped."""
    return clean(value, MAX_TEXT) if type(value) is str else _Plain().of(value)


class Recorder:
    """Sends LOG frames, and stops at the byte limit of each invocation."""

    def __init__(self, channel: Channel, log_bytes: int) -> None:
        self.outside_left = log_bytes
        """What code outside of any invocation may still log."""
        self.limit = log_bytes
        self._channel = channel

    def record(self, level: str, arguments: list[Any]) -> None:
        """Send one line."""
        invocation = current.get(None)
        if invocation is not None and invocation.finished:
            invocation = None
        left = self.outside_left if invocation is None else invocation.log_left
        if left <= 0:
            return
        payload = self._encode(level, [json_safe(value) for value in arguments[:MAX_ITEMS]])
        if len(payload) > left:
            payload = self._encode("warn", [f"(logs truncated at {self._limit_text()})"])
            left = 0
        else:
            left -= len(payload)
        if invocation is None:
            self.outside_left = left
        else:
            invocation.log_left = left
        stream = 0 if invocation is None else invocation.stream
        self._channel.send(encode(FrameType.LOG, stream, payload))

    def _encode(self, level: str, message: list[Any]) -> bytes:
        now = int(time.time() * 1000)
        payload = encode_metadata(LogRecord(level, now, message))
        if len(payload) > _MAX_MESSAGE:
            text = clean(" ".join(str(part) for part in message), MAX_TEXT)
            payload = encode_metadata(LogRecord(level, now, [text]))
        return payload

    def _limit_text(self) -> str:
        return f"{self.limit // 1024} KiB" if self.limit >= 1024 else f"{self.limit} bytes"


class LineWriter(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr; each line is one LOG frame."""

    def __init__(self, recorder: Recorder, level: str, descriptor: int) -> None:
        self._recorder = recorder
        self._level = level
        self._descriptor = descriptor
        self._outside: dict[str, str] = {}
        self.buffer = _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Text is UTF-8."""
        return "utf-8"

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the log pipe's descriptor, for what must have one (faulthandler)."""
        return self._descriptor

    def write(self, text: str, /) -> int:
        """Send each complete line; keep the rest for the next call."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        partial = self._partial()
        *lines, rest = (partial.pop(self._level, "") + text).split("\n")
        for line in lines:
            self._recorder.record(self._level, [line])
        if rest:
            partial[self._level] = rest[:MAX_TEXT]
        return len(text)

    def _partial(self) -> dict[str, str]:
        invocation = current.get(None)
        if invocation is None or invocation.finished:
            return self._outside
        if invocation.partial_lines is None:
            invocation.partial_lines = {}
        return invocation.partial_lines


class _Bytes(io.RawIOBase):
    """The byte side of a LineWriter."""

    def __init__(self, text: LineWriter) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._text.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


class Console:
    """``console.log`` and its sisters; arguments keep their structure."""

    _recorder: Recorder | None = None

    def _emit(self, level: str, arguments: tuple[Any, ...]) -> None:
        if self._recorder is not None:
            self._recorder.record(level, list(arguments))

    def debug(self, *arguments: Any) -> None:
        """Log at level debug."""
        self._emit("debug", arguments)

    def info(self, *arguments: Any) -> None:
        """Log at level info."""
        self._emit("info", arguments)

    def log(self, *arguments: Any) -> None:
        """Log at level log."""
        self._emit("log", arguments)

    def warn(self, *arguments: Any) -> None:
        """Log at level warn."""
        self._emit("warn", arguments)

    def error(self, *arguments: Any) -> None:
        """Log at level error."""
        self._emit("error", arguments)


console = Console()


class LogHandler(logging.Handler):
    """The root handler of ``logging``."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, with its exception."""
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            self._recorder.record(_level(record.levelno), [text])
        except Exception:
            self.handleError(record)


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"


def install(recorder: Recorder) -> None:
    """Send print, console and logging of this process through ``recorder``."""
    console._recorder = recorder
    sys.stdout = LineWriter(recorder, "log", 1)
    sys.stderr = LineWriter(recorder, "error", 2)
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(recorder)]
    set_level()


def set_level() -> None:
    """Let what is worth knowing through. Where that is so already, no logger is touched for it."""
    root = logging.getLogger()
    if root.level != logging.INFO:
        root.setLevel(logging.INFO)


def flush_partial(recorder: Recorder, partial: Mapping[str, str]) -> None:
    """Send the lines that lacked their newline when the invocation ended."""
    for level, rest in partial.items():
        recorder.record(level, [rest])
