"""Whose instance is started next: how many of a tenant's at once, and how soon after some died.

A start costs the node about as much CPU time as a plan gives a request, and nobody pays for it. So
each tenant has an account of deaths: one that its own code brought about costs a start or more; so
many are forgiven a second, and beyond what is allowed starts wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ALLOWED = 50.0
"""Deaths that are replaced at once."""
FORGIVEN_A_SECOND = 10.0
MOST = ALLOWED + 30 * FORGIVEN_A_SECOND
"""No tenant is kept waiting for longer than this takes to forgive."""
PATIENCE_SECONDS = 1.0
"""A request waits so long for a start that has to wait; beyond it is told when to come again."""
DEATH_NS = 10_000_000
"""CPU time that costs as much as one death."""


class _Account:
    __slots__ = ("at", "debt", "running", "waiting")

    def __init__(self) -> None:
        self.debt = 0.0
        self.at = time.monotonic()
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def settle(self) -> float:
        now = time.monotonic()
        self.debt = max(0.0, self.debt - (now - self.at) * FORGIVEN_A_SECOND)
        self.at = now
        return self.debt

    def delay(self) -> float:
        return max(0.0, self.settle() - ALLOWED) / FORGIVEN_A_SECOND


class Turns:
    """The order of starts. Tenants do not wait for each other."""

    def __init__(self, at_once: int, *, cost: int = 1) -> None:
        """``cost``: of a death, in deaths; in each of several processes their number."""
        self._at_once = at_once
        self._cost = cost
        self._accounts: dict[str, _Account] = {}

    def charge(self, tenant: str, burnt_ns: int = 0) -> None:
        """An instance died by its own code, which had burnt this much that nobody pays for."""
        account = self._accounts.setdefault(tenant, _Account())
        cost = self._cost * (1.0 + burnt_ns / DEATH_NS)
        account.debt = min(MOST, account.settle() + cost)

    def delay(self, tenant: str) -> float:
        """Seconds until an instance of this tenant may be started."""
        account = self._accounts.get(tenant)
        return account.delay() if account is not None else 0.0

    def refuses(self, tenant: str) -> int:
        """Whole seconds until asking again makes sense; 0 when waiting does."""
        delay = self.delay(tenant)
        return math.ceil(delay) if delay > PATIENCE_SECONDS else 0

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it while the instance starts."""
        account = self._accounts.setdefault(tenant, _Account())
        await self._enter(account)
        try:
            # What dies meanwhile is charged to the next: each of those who wait, waits once.
            await asyncio.sleep(account.delay())
            yield
        finally:
            self._leave(account)

    def forget_settled(self) -> None:
        """Drop the accounts that say nothing any more."""
        for tenant, account in list(self._accounts.items()):
            if not account.running and not account.waiting and account.settle() == 0:
                del self._accounts[tenant]

    async def _enter(self, account: _Account) -> None:
        if account.running < self._at_once:
            account.running += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        account.waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave(account)
            raise

    def _leave(self, account: _Account) -> None:
        """Hand the place to the next who waits."""
        while account.waiting:
            future = account.waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        account.running -= 1
