"""What C code and ``os.write`` put on an instance's descriptors 1 and 2: lines for its log."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

from gateway.pool.exchange import Exchange
from gateway.pool.fairness import Share
from sandbox.payloads import LogRecord

PIPE_READ: Final = 64 * 1024
MAX_LINE: Final = 16 * 1024
LINE_COST: Final = 32
"""What a line counts on top of its bytes."""
LINES_A_READ: Final = 128
"""Lines of one read that are records of their own; what follows them goes into few records."""
READ_UNITS: Final = 8
LINE_UNITS: Final = 2
"""What a read, and a line that is kept, take of the tenant's share, besides 256 bytes a unit."""
LAST_READS: Final = 16
"""What a pipe holds, and more, of a process that is gone."""


class LogPipe:
    """Reads one instance's pipe."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, share: Share, owner: Callable[[], Exchange | None]
    ) -> None:
        self._loop = loop
        self._share = share
        self._owner = owner
        self._fd = -1
        self._rest = b""

    def watch(self, fd: int) -> None:
        """Read from ``fd`` until it closes."""
        self._fd = fd
        self._loop.add_reader(fd, self._on_readable)

    def drain(self) -> None:
        """Read what is there."""
        for _ in range(LAST_READS):
            if self._fd < 0 or not self._read():
                return

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1

    def _on_readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Read once; whether there may be more."""
        try:
            data = os.read(self._fd, PIPE_READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        if self._share.spend(READ_UNITS + (len(data) >> 8) + LINE_UNITS * self._take(data)):
            self._loop.remove_reader(self._fd)
            self._share.wait(self._go_on)
        return True

    def _go_on(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._on_readable)

    def _take(self, data: bytes) -> int:
        """Give the lines that are complete to whose they are; how many records that made."""
        exchange = self._owner()
        if exchange is None or exchange.truncated:
            self._rest = b""
            return 0
        *lines, rest = (self._rest + data).split(b"\n", LINES_A_READ)
        whole, newline, self._rest = rest.rpartition(b"\n")
        if newline:
            lines += _blocks(whole)
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        return _keep(lines, exchange)


def _blocks(text: bytes) -> list[bytes]:
    """Many lines as few blocks of them, none longer than a line may be."""
    blocks = []
    while len(text) > MAX_LINE:
        end = text.rfind(b"\n", 1, MAX_LINE)
        end = end if end > 0 else MAX_LINE
        blocks.append(text[:end])
        text = text[end:].removeprefix(b"\n")
    return [*blocks, text]


def _keep(lines: list[bytes], exchange: Exchange) -> int:
    now_ms = time.time_ns() // 1_000_000
    for number, line in enumerate(lines):
        size = len(line) + LINE_COST
        if not exchange.takes_logs(size):
            return number
        text = line[:MAX_LINE].decode("utf-8", "replace")
        exchange.on_log(LogRecord("log", now_ms, [text]), size)
    return len(lines)
