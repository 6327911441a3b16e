"""How much of what instances say is taken in at a turn of the event loop: each tenant's share.

The gateway's own time is shared by all tenants. What one instance says at once is bounded; a tenant
with twenty of them would have twenty times as much. So they have a share together: what is taken in
is counted, and whoever brings more than the share waits for a turn that has room for more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

logger = logging.getLogger(__name__)

A_TURN: Final = 64
"""Units of one tenant in a turn, for each unit of its plan's weight; a small frame is one."""


class Share:
    """What the instances of one tenant may have taken in at a turn."""

    __slots__ = ("__weakref__", "_armed", "_loop", "_owed", "_waiting", "size")

    def __init__(self, size: int = A_TURN) -> None:
        """Must be made where the event loop runs."""
        self.size = size
        self._loop = asyncio.get_running_loop()
        self._owed = 0
        """Units of this turn, and of those before it that were too many for them."""
        self._armed = False
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def spend(self, units: int) -> bool:
        """Count what was taken in; whether more has to wait for its turn."""
        self._owed += units
        self._arm()
        return self._owed > self.size

    def wait(self, go: Callable[[], None]) -> None:
        """Have ``go`` called in a turn that has room for more, after those who wait already."""
        self._waiting.append(go)
        self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """A turn of the event loop is over."""
        self._armed = False
        self._owed = max(0, self._owed - self.size)
        while self._waiting and self._owed < self.size:
            owed = self._owed
            try:
                self._waiting.popleft()()
            except Exception:
                # Those behind it must not wait for ever.
                logger.exception("an instance was not heard")
            if self._owed == owed:
                # What it brings is read after this; it may be as much as the whole share.
                break
        if self._waiting or self._owed:
            self._arm()


class Fairness:
    """The shares of all tenants with instances in this process."""

    def __init__(self) -> None:
        self._shares: WeakValueDictionary[str, Share] = WeakValueDictionary()

    def share(self, tenant: str, weight: int) -> Share:
        """The share that a tenant's instances have together; forgotten with the last of them."""
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = Share()
        share.size = A_TURN * max(1, weight)
        return share
