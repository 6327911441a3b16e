"""Memory that was freed and is still the process's: given back when it is much.

Bodies that wait for slow clients are many middling blocks. The C library keeps them for the next
ones, among small blocks that stay, and the kernel would count them as the node's for ever.
"""

from __future__ import annotations

import asyncio
import ctypes
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
        self._kept = 0
        """Free bytes of which the kernel has the pages already, or which are not worth it."""

    def look(self) -> bool:
        """Give back what is free, if it is much; whether it was."""
        if self._info is None or self._trim is None:
            return False
        free: int = self._info().fordblks
        self._kept = min(self._kept, free)
        if free - self._kept < MUCH:
            return False
        self._trim(0)
        # What was given back still counts as free.
        self._kept = free
        return True

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)
