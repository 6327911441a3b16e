"""Spare instances: jailed and verified in advance, waiting for code.

A spare has gone through every step of the recipe and every look from outside, with a user id, a
cgroup and limits of its own; what sets those is its size. So it can be given to whoever needs that
size, once, and nothing about it is changed then. No tenant's code has run in it before, and none of
its barriers can be taken down again: what was verified still holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sandbox.spec import SandboxSpec
from sandbox.supervisor.instance import Sandbox

logger = logging.getLogger(__name__)

_REST_SECONDS: Final = 0.005
"""After a spare was taken: whoever took it needs the processor first."""
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 30.0
_MOST_DOUBLINGS: Final = 9
_EAGER_SIZES: Final = 8
"""Of so many sizes one waits before any was asked for."""


class Spares:
    """The spares of a supervisor: so many of each size that was asked for, one of each other."""

    def __init__(self, make: Callable[[SandboxSpec], Awaitable[Sandbox]], count: int) -> None:
        self._make = make
        self._count = count
        self._sizes: frozenset[SandboxSpec] = frozenset()
        """Those worth keeping; a tenant that asks for odd ones shall not displace them."""
        self._ready: dict[SandboxSpec, deque[Sandbox]] = {}
        """By size."""
        self._asked: set[SandboxSpec] = set()
        """Sizes of which more than one is worth its memory."""
        self._making: asyncio.Task[None] | None = None
        self._failures = 0
        self._closed = False

    def keep(self, sizes: Sequence[SandboxSpec]) -> None:
        """Keep spares of these sizes: all of the first, one of others until they are asked for."""
        if self._count and not self._closed:
            self._sizes = frozenset(sizes)
            self._asked.add(sizes[0])
            for size in list(dict.fromkeys(sizes))[:_EAGER_SIZES]:
                self._ready.setdefault(size, deque())
            self._fill()

    def take(self, size: SandboxSpec) -> Sandbox | None:
        """A spare, which is the caller's from now on; None when there is none."""
        if size not in self._sizes or self._closed:
            return None
        ready = self._ready.setdefault(size, deque())
        self._asked.add(size)
        found = None
        while ready and found is None:
            spare = ready.popleft()
            if _is_good(spare):
                found = spare
            else:
                spare.close()
        self._fill()
        return found

    def renew(self) -> None:
        """Let go of the present ones, whose zygote was replaced."""
        self._drop()
        self._fill()

    def count(self) -> int:
        """Spares that are ready now."""
        return sum(map(len, self._ready.values()))

    async def made(self) -> None:
        """Return when there are as many as there shall be."""
        if self._making is not None:
            await asyncio.wait([self._making])

    async def close(self) -> None:
        """End them all, and make no more."""
        self._closed = True
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])
        self._drop()

    def _drop(self) -> None:
        for ready in self._ready.values():
            while ready:
                ready.popleft().close()

    def _fill(self) -> None:
        if self._making is None and not self._closed and self._wanted() is not None:
            self._making = asyncio.create_task(self._make_them())

    def _wanted(self) -> SandboxSpec | None:
        """The size that has the fewest of those that lack any."""
        lacking = [size for size, ready in self._ready.items() if len(ready) < self._most(size)]
        return min(lacking, key=lambda size: len(self._ready[size]), default=None)

    def _most(self, size: SandboxSpec) -> int:
        return self._count if size in self._asked else 1

    async def _make_them(self) -> None:
        """One after the other, less and less often while none can be made."""
        try:
            while (size := self._wanted()) is not None:
                await asyncio.sleep(self._pause())
                await self._make_one(size)
        finally:
            self._making = None

    def _pause(self) -> float:
        if not self._failures:
            return _REST_SECONDS
        doubled = _FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS)
        return min(_LONGEST_PAUSE_SECONDS, doubled)

    async def _make_one(self, size: SandboxSpec) -> None:
        try:
            spare = await self._make(size)
        except Exception:
            # Whatever it is, those who ask for an instance are told; this is tried again later.
            self._failures += 1
            logger.exception("no spare instance could be made")
            return
        self._failures = 0
        if _is_good(spare):
            self._ready[size].append(spare)
        else:
            spare.close()


def _is_good(spare: Sandbox) -> bool:
    # It may be gone, or be about to go with its zygote, and nobody has been told why yet.
    return not (spare.outdated or spare.orphaned or spare.is_over)
