"""Requests whose bodies have not come: they must not keep those out that have all they need.

A body may drip for as long as the plan lets a request run. While it does, its request would hold a
place of the tenant's, and a whole process of code that is not asynchronous. So only a few of a
tenant go in and read it as it comes; the others wait outside until it is here, or as much of it as
only somebody sends who does not drip.
"""

from __future__ import annotations

import asyncio

from gateway.errors import WallTimeExceeded
from gateway.model.http import Request
from gateway.model.plan import Limits

MIB = 1 << 20


class Bodies:
    """Those that are inside, by tenant."""

    def __init__(self, processes: int = 1) -> None:
        """``processes``: how many a tenant's places are spread over."""
        self._processes = processes
        self._inside: dict[str, int] = {}

    def inside(self, tenant: str) -> int:
        """How many of a tenant's went in before their bodies came."""
        return self._inside.get(tenant, 0)

    async def enter(self, request: Request, tenant: str, limits: Limits) -> bool:
        """Go in at once, or wait for the body; whether ``leave`` is due.

        Raises WallTimeExceeded, ClientDisconnected, or what the body is refused for.
        """
        arrival, request.arrival = request.arrival, None
        if arrival is None or arrival.arrived:
            return False
        inside = self.inside(tenant)
        if inside < min(limits.concurrency, limits.instances) // (2 * self._processes):
            self._inside[tenant] = inside + 1
            return True
        try:
            async with asyncio.timeout(limits.wall_ms / 1000):
                await arrival.arrive(limits.body_mb * MIB)
        except TimeoutError:
            raise WallTimeExceeded(
                f"The body of the request did not come within the {limits.wall_ms} ms that a "
                "request of this plan may take."
            ) from None
        return False

    def leave(self, tenant: str) -> None:
        """One that went in at once is over."""
        self._inside[tenant] -= 1
        if not self._inside[tenant]:
            del self._inside[tenant]
