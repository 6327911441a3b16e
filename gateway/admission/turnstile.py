"""Whose request goes on, where more come at once than one turn of the event loop can serve.

The gateway's own time is shared by all tenants, and left to itself it goes to whoever asks most
often: a turn serves all that has come, and the answer to a quiet tenant needs a few turns. So a
turn takes so many requests as they come; beyond, each tenant has its share, and what is more waits
for the turns that follow, in which tenants take turns by the weight of their plans. What takes the
gateway longer than a plain request counts as several. Whoever has waited for too long is shed when
its turn comes: so shedding takes turns, too.
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
from gateway.model.neighbours import neighbourhood
from gateway.model.route import Route

logger = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Requests that a turn takes as they come, or from those that wait."""
SHARE: Final = 8
"""Requests of one tenant that a turn takes beyond, for each unit of its plan's weight."""
LONG: Final = 3
"""What one counts that needs a task of its own."""
LOOKUP: Final = 6
"""What one counts of which only the store knows where it leads."""
NOBODY: Final = ""
"""Whose requests they are that lead to no script, as far as is known."""


class _ByClient:
    """Requests of nobody's: those of each client in order, and clients take turns."""

    __slots__ = ("_count", "_of")

    def __init__(self) -> None:
        self._of: dict[str, deque[Callable[[], None]]] = {}
        """Whose turn it is comes first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, client: str, go: Callable[[], None]) -> None:
        """Add one."""
        self._of.setdefault(client, deque()).append(go)
        self._count += 1

    def popleft(self) -> Callable[[], None]:
        """Take the next one."""
        client, waiting = next(iter(self._of.items()))
        del self._of[client]
        go = waiting.popleft()
        if waiting:
            self._of[client] = waiting
        self._count -= 1
        return go


class _Queue:
    """Requests of one tenant that wait for their turn."""

    __slots__ = ("credit", "share", "waiting")

    def __init__(self, share: int) -> None:
        self.share = share
        self.credit = share
        """How many may still go before it is the next tenant's turn; less than none when the last
        took longer than was known before."""
        self.waiting: deque[Callable[[], None]] | _ByClient = deque()


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

    async def enter(self, route: Route) -> bool:
        """Wait for a turn; whether it had to. Raises LoadShed when it had to wait for too long."""
        return await self.enter_as(route.tenant, LONG, SHARE * route.limits.weight)

    async def enter_unknown(self, address: str, *, asks: bool = False) -> None:
        """The same for a request of which it is not known whose it is, and so for refusing it.

        All of them have one tenant's share, in which clients take turns. ``asks``: the store is
        going to be asked.
        """
        await self.enter_as(NOBODY, LOOKUP if asks else LONG, client=neighbourhood(address))

    async def enter_as(
        self, name: str, cost: int, share: int = SHARE, *, client: str | None = None
    ) -> bool:
        """The same for whoever has that name; counts as so many plain requests."""
        taken = self._taken
        if not taken:
            self._loop.call_soon(self._turn)
        self._taken = taken + 1
        if taken < AT_ONCE or self._passes_beyond(name, share):
            self._charge(name, cost - 1)
            return False
        came_ns = time.monotonic_ns()
        future: asyncio.Future[None] = self._loop.create_future()
        self._wait(name, share, partial(self._wake, future, name, cost), client)
        await future
        self.check(came_ns)
        return True

    def _wake(self, future: asyncio.Future[None], name: str, cost: int) -> None:
        if not future.done():
            self._charge(name, cost - 1)
            future.set_result(None)

    def pace(self, route: Route) -> Pace:
        """How fast the frames of a tenant's WebSocket are read."""
        return Pace(self, route)

    def spent(self, route: Route, frames: int) -> None:
        """So many frames were read after one ``passes``; each costs about as much as a request."""
        self._charge(route.tenant, frames - 1)

    def _charge(self, name: str, cost: int) -> None:
        """Whoever went on takes so much more of the turn, which may be a later one."""
        if cost <= 0:
            return
        if not self._taken:
            self._loop.call_soon(self._turn)
        self._taken += cost
        queue = self._queues.get(name)
        if queue is not None:
            queue.credit -= cost
        else:
            self._beyond[name] = self._beyond.get(name, 0) + cost

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

    def _wait(
        self, tenant: str, share: int, go: Callable[[], None], client: str | None = None
    ) -> None:
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = _Queue(share)
            if client is not None:
                queue.waiting = _ByClient()
        queue.share = share
        if isinstance(queue.waiting, _ByClient):
            queue.waiting.append(client or "", go)
        else:
            queue.waiting.append(go)

    def _turn(self) -> None:
        """A turn of the event loop is over: those that wait go first in the next."""
        self._taken = 0
        self._beyond.clear()
        if self._queues:
            self._loop.call_soon(self._turn)
        while self._queues and self._taken < AT_ONCE:
            self._taken += 1
            try:
                self._next()()
            except Exception:
                # Those behind it must not wait for ever.
                logger.exception("a request was lost")

    def _next(self) -> Callable[[], None]:
        """Whose turn it is of those that wait."""
        while True:
            tenant, queue = next(iter(self._queues.items()))
            if queue.credit > 0:
                break
            queue.credit += queue.share
            self._queues[tenant] = self._queues.pop(tenant)
        queue.credit -= 1
        go = queue.waiting.popleft()
        if not queue.waiting:
            del self._queues[tenant]
        return go


class Pace:
    """How fast the frames of one WebSocket are read."""

    __slots__ = ("_route", "_turnstile")

    def __init__(self, turnstile: Turnstile, route: Route) -> None:
        self._turnstile = turnstile
        self._route = route

    def passes(self, go: Callable[[], None]) -> bool:
        """Whether to read now; otherwise ``go`` is called when it is the tenant's turn."""
        if self._turnstile.passes(self._route):
            return True
        self._turnstile.wait(self._route, go)
        return False

    def spent(self, frames: int) -> None:
        """So many were read."""
        self._turnstile.spent(self._route, frames)
