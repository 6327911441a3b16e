"""Whose request goes on, where more come at once than one turn of the event loop can serve.

The gateway's own time is shared by all tenants, and left to itself it goes to whoever asks most
often: a turn serves all that has come, and the answer to a quiet tenant needs a few turns. So a
turn takes so many requests as they come; beyond, each tenant has its share, and what is more waits
for the turns that follow, in which tenants take turns by the weight of their plans. Whoever has
waited for too long is shed when its turn comes: so shedding takes turns, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.errors import LoadShed
from gateway.model.route import Route

logger = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Requests that a turn takes as they come, or from those that wait."""
SHARE: Final = 8
"""Requests of one tenant that a turn takes beyond, for each unit of its plan's weight."""
NOBODY: Final = ""
"""Whose requests they are that lead to no script."""


class _Queue:
    """Requests of one tenant that wait for their turn."""

    __slots__ = ("credit", "share", "waiting")

    def __init__(self, share: int) -> None:
        self.share = share
        self.credit = 0
        """How many may still go before it is the next tenant's turn."""
        self.waiting: deque[Callable[[], None]] = deque()


class Turnstile:
    """The order of requests in one process."""

    def __init__(self, *, queue_seconds: float) -> None:
        """Must be made where the event loop runs."""
        self._loop = asyncio.get_running_loop()
        self._queue_seconds = queue_seconds
        self._taken = 0
        """Requests of this turn."""
        self._beyond: dict[str, int] = {}
        """Those of each tenant beyond what is taken as it comes."""
        self._queues: dict[str, _Queue] = {}
        """By tenant; whose turn it is comes first."""

    @property
    def waiting(self) -> dict[str, int]:
        """How many requests of each tenant wait."""
        return {tenant: len(queue.waiting) for tenant, queue in self._queues.items()}

    def passes(self, route: Route) -> bool:
        """Whether a request goes on now; otherwise it has to ``wait``."""
        taken = self._taken
        if not taken:
            self._loop.call_soon(self._turn)
        self._taken = taken + 1
        return taken < AT_ONCE or self._passes_beyond(route.tenant, SHARE * route.limits.weight)

    def wait(self, route: Route, go: Callable[[], None]) -> None:
        """Have ``go`` called when it is the request's turn; it must not raise."""
        self._wait(route.tenant, SHARE * route.limits.weight, go)

    async def enter(self, route: Route | None) -> bool:
        """Wait for a turn, of nobody's where the request leads to no script; whether it had to.

        Raises LoadShed when it had to wait for too long.
        """
        if route is not None:
            tenant, share = route.tenant, SHARE * route.limits.weight
        else:
            tenant, share = NOBODY, SHARE
        taken = self._taken
        if not taken:
            self._loop.call_soon(self._turn)
        self._taken = taken + 1
        if taken < AT_ONCE or self._passes_beyond(tenant, share):
            return False
        came_ns = time.monotonic_ns()
        future: asyncio.Future[None] = self._loop.create_future()
        self._wait(tenant, share, partial(_wake, future))
        await future
        self.check(came_ns)
        return True

    def check(self, came_ns: int) -> None:
        """Raise LoadShed when a request that came then has waited for too long."""
        if self.is_late(came_ns):
            raise LoadShed(
                f"The request waited more than {self._queue_seconds:g} s for its turn: too many "
                "of this worker's come at once."
            )

    def is_late(self, came_ns: int) -> bool:
        """Whether a request that came then, by the monotonic clock, has waited for too long."""
        return time.monotonic_ns() - came_ns > self._queue_seconds * 1e9

    def _passes_beyond(self, tenant: str, share: int) -> bool:
        if tenant in self._queues:
            return False
        taken = self._beyond.get(tenant, 0)
        self._beyond[tenant] = taken + 1
        return taken < share

    def _wait(self, tenant: str, share: int, go: Callable[[], None]) -> None:
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = _Queue(share)
        queue.share = share
        queue.waiting.append(go)

    def _turn(self) -> None:
        """A turn of the event loop is over: those that wait go first in the next."""
        self._taken = 0
        self._beyond.clear()
        if self._queues:
            self._loop.call_soon(self._turn)
            self._taken = 1
            for _ in range(AT_ONCE):
                go = self._next()
                if go is None:
                    break
                self._taken += 1
                try:
                    go()
                except Exception:
                    # Those behind it must not wait for ever.
                    logger.exception("a request was lost")

    def _next(self) -> Callable[[], None] | None:
        """Whose turn it is; None when nobody waits."""
        if not self._queues:
            return None
        tenant, queue = next(iter(self._queues.items()))
        if not queue.credit:
            queue.credit = queue.share
        queue.credit -= 1
        go = queue.waiting.popleft()
        if not queue.waiting:
            del self._queues[tenant]
        elif not queue.credit:
            self._queues[tenant] = self._queues.pop(tenant)
        return go


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
