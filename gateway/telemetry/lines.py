"""Writing lines from a thread, so that a slow or full disk never holds up a request.

The event loop appends to a deque, which is atomic; the thread sleeps until there is something, lets
more gather for a moment and writes it in one go. No lock is shared.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.2
"""How long lines may gather."""
FLUSH_BYTES: Final = 1 << 20
"""Gathered bytes that are written at once: each time takes the interpreter away from requests."""
MAX_PENDING: Final = 16 << 20
"""Bytes that may wait for a slow disk; lines beyond are dropped."""
MAX_FILE: Final = 64 << 20
"""Bytes of a log file before it is rotated."""
KEEP: Final = 3
"""Rotated files kept."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError."""

    def close(self) -> None:
        """Let go."""


class DescriptorSink:
    """An open file descriptor, such as standard output; it is not ours to close."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write all of it."""
        _write_all(self._descriptor, data)

    def close(self) -> None:
        """Leave it open."""


class FileSink:
    """A file of mode 0600, renamed to ``.1`` … ``.3`` when it is full."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE, keep: int = KEEP) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = -1
        self._size = 0
        self._torn = False
        self._open()

    def write(self, data: bytes) -> None:
        """Write all of it, rotating first when the file is full."""
        if self._descriptor < 0:
            self._open()
        elif self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        if self._torn:
            data = b"\n" + data
        try:
            # Until all is written the last line may be half a line.
            self._torn = True
            _write_all(self._descriptor, data)
            self._torn = False
        finally:
            self._size = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        # Another process may write to the same file: the first of them renames it for all.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if not self._is_renamed():
                self._shift()
        finally:
            self.close()
        self._torn = False
        self._open()

    def _is_renamed(self) -> bool:
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._descriptor))

    def _shift(self) -> None:
        for number in range(self._keep, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else str(self._path)
            with suppress(FileNotFoundError):
                os.replace(older, f"{self._path}.{number}")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class LineWriter:
    """Takes lines from one thread and writes them from another."""

    def __init__(self, sink: Sink, *, name: str) -> None:
        self._sink = sink
        self._name = name
        self._lines: deque[bytes] = deque()
        # Each of these is written by one thread only.
        self._bytes_in = 0
        self._bytes_out = 0
        self._refused = 0
        self._failed = 0
        self._failing = False
        self._closing = False
        self._some = threading.Event()
        self._urgent = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waypost-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost: refused because too many waited, or failed to be written."""
        return self._refused + self._failed

    def write(self, line: bytes) -> None:
        """Queue one line, without its end."""
        pending = self._bytes_in - self._bytes_out
        if pending > MAX_PENDING or self._closing:
            self._refused += 1
            return
        self._lines.append(line)
        self._bytes_in += len(line) + 1
        if not self._some.is_set():
            self._some.set()
        if pending > FLUSH_BYTES and not self._urgent.is_set():
            self._urgent.set()

    def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Wait until what was queued is written or lost; False when that took too long."""
        target = self._bytes_in
        deadline = time.monotonic() + timeout_seconds
        while self._bytes_out < target:
            self._idle.clear()
            self._urgent.set()
            self._some.set()
            if self._bytes_out < target and not self._idle.wait(deadline - time.monotonic()):
                return False
        return True

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Write what is queued, then end."""
        self._closing = True
        self._urgent.set()
        self._some.set()
        self._thread.join(timeout_seconds)
        if not self._thread.is_alive():
            self._sink.close()

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._urgent.wait(FLUSH_SECONDS)
            # Cleared before the deque is emptied: a line that comes later sets them again.
            closing = self._closing
            self._some.clear()
            self._urgent.clear()
            self._drain()
            self._idle.set()
            if closing:
                return

    def _drain(self) -> None:
        while self._lines:
            batch: list[bytes] = []
            size = 0
            while self._lines and size < FLUSH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1]) + 1
            batch.append(b"")
            self._write(b"\n".join(batch), len(batch) - 1)
            self._bytes_out += size

    def _write(self, data: bytes, lines: int) -> None:
        try:
            self._sink.write(data)
        except OSError as error:
            self._failed += lines
            if not self._failing:
                logger.error(
                    "log lines are being lost", extra={"log": self._name, "reason": str(error)}
                )
            self._failing = True
        else:
            if self._failing:
                logger.warning(
                    "log lines are written again", extra={"log": self._name, "lost": self.dropped}
                )
            self._failing = False
