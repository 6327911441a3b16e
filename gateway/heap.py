"""Memory that was freed and is still the process's: given back when it is much.

Bodies that wait for slow clients are many middling blocks. The C library keeps them for the next
ones, among small blocks that stay, and the kernel would count them as the node's for ever.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 10.0
MUCH: Final = 32 << 20
"""Bytes; less is not worth the milliseconds in which nothing can be allocated."""


class _HeapInfo(ctypes.Structure):
    """What mallinfo2(3) tells."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks")),
        ("keepcost", ctypes.c_size_t),
    )


class Heap:
    """The C library's heap of this process; nothing can be done with any but glibc's."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._info, self._trim = (
            getattr(libc, name, None) for name in ("mallinfo2", "malloc_trim")
        )
        if self._info is not None:
            self._info.restype = _HeapInfo
        self._gone = 0
        """Free bytes of which the kernel has the pages: they still count as free."""
        self._floor = 0
        """Resident bytes when last something was given back, or fewer."""

    def look(self) -> bool:
        """Give back what is free, if it is much; whether it was."""
        if self._info is None or self._trim is None:
            return False
        free, resident = self._info().fordblks, _resident_bytes()
        self._gone, self._floor = min(self._gone, free), min(self._floor, resident)
        # More was freed since, or some of what is gone was taken and freed again between two looks.
        if free - self._gone < MUCH and (free < MUCH or resident - self._floor < MUCH):
            return False
        self._trim(0)
        self._gone, self._floor = free, _resident_bytes()
        return True

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
