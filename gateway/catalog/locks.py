"""Locks by key, forgotten when nobody holds or awaits them; and places that only one can have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary


class KeyedLocks:
    """One asyncio lock for each key in use."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._taken: set[Hashable] = set()

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the lock of ``key`` and hold it."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            yield

    @contextmanager
    def alone(self, key: Hashable) -> Iterator[bool]:
        """Take the one place of ``key``; False when somebody else has it."""
        free = key not in self._taken
        if free:
            self._taken.add(key)
        try:
            yield free
        finally:
            if free:
                self._taken.discard(key)
