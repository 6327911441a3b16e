"""Admission where several processes serve: a tenant's limits hold for all of them together.

A request is counted first and then looked at: so two processes may both refuse the last place for a
moment, but never both give it. Who waits in one process looks for places that another gives back;
while somebody waits elsewhere, a process that has its part of the limit takes its chance with them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from functools import partial

from gateway.admission.bodies import Bodies
from gateway.admission.gate import Gate
from gateway.model.http import Request
from gateway.model.route import Route
from gateway.model.script import TenantStatus
from gateway.processes.cells import Cells, Kind

LOOK_SECONDS = 0.002
"""How often those who wait look for a place that another process gave back."""


class _Tenant:
    """What a tenant has in this process, and where the other processes see it."""

    __slots__ = ("in_flight", "limit", "queued", "row", "slug", "sockets", "waiters")

    def __init__(self, slug: str, row: int | None) -> None:
        self.slug = slug
        self.row = row
        """None where the table is full: the tenant then has its part of each limit here."""
        self.in_flight = 0
        self.sockets = 0
        self.queued = 0
        self.limit = 1
        """Requests at once, as the plan of the last one said."""
        self.waiters: deque[asyncio.Future[None]] = deque()

    @property
    def idle(self) -> bool:
        """It has nothing here."""
        return not (self.in_flight or self.sockets or self.queued)


class SharedGate(Gate):
    """Admission in one of several processes."""

    def __init__(self, *, queue_seconds: float, cells: Cells) -> None:
        super().__init__(queue_seconds=queue_seconds)
        self.bodies = Bodies(cells.processes)
        self._cells = cells
        self._here: dict[str, _Tenant] = {}
        self._hungry: dict[str, _Tenant] = {}
        """Those with requests that wait."""

    def try_enter(self, request: Request, route: Route) -> bool:
        """Take a slot of the tenant's if that takes no waiting and there is nothing to refuse."""
        if route.status is not TenantStatus.ACTIVE or request.content_length or request.websocket:
            return False
        return self._take(route.tenant, route.limits.concurrency)

    def leave(self, slug: str, *, websocket: bool = False) -> None:
        """Give a slot back."""
        tenant = self._here[slug]
        if websocket:
            tenant.sockets -= 1
            self._tell(tenant, Kind.SOCKETS, tenant.sockets)
        else:
            self._give_back(tenant)
        self._forget(tenant)

    def _find(self, slug: str) -> _Tenant:
        tenant = self._here.get(slug)
        if tenant is None:
            tenant = self._here[slug] = _Tenant(slug, self._cells.row(slug))
        return tenant

    def _forget(self, tenant: _Tenant) -> None:
        if tenant.idle:
            self._here.pop(tenant.slug, None)

    # Taking

    def _take(self, slug: str, limit: int) -> bool:
        tenant = self._find(slug)
        tenant.limit = min(tenant.limit, limit) if tenant.queued else limit
        # Nobody goes before those who wait.
        share = limit // self._cells.processes
        polite = tenant.in_flight < share or not self._others_wait(tenant)
        taken = polite and not tenant.queued and self._try(tenant)
        self._forget(tenant)
        return taken

    def _try(self, tenant: _Tenant) -> bool:
        own = tenant.in_flight + 1
        fits = self._fits(tenant, Kind.REQUESTS, own, tenant.limit)
        if fits:
            tenant.in_flight = own
        else:
            self._tell(tenant, Kind.REQUESTS, tenant.in_flight)
        return fits

    def _take_socket(self, slug: str, limit: int) -> bool:
        tenant = self._find(slug)
        fits = self._fits(tenant, Kind.SOCKETS, tenant.sockets + 1, limit)
        tenant.sockets += fits
        self._tell(tenant, Kind.SOCKETS, tenant.sockets)
        self._forget(tenant)
        return fits

    def _fits(self, tenant: _Tenant, kind: Kind, own: int, limit: int) -> bool:
        """Tell the others that there are so many here, and see what that makes of all."""
        if tenant.row is None:
            return own <= max(1, limit // self._cells.processes)
        self._cells.write(tenant.row, kind, own)
        return self._cells.total(tenant.row, kind) <= limit

    def _tell(self, tenant: _Tenant, kind: Kind, count: int) -> None:
        if tenant.row is not None:
            self._cells.write(tenant.row, kind, count)

    def _others_wait(self, tenant: _Tenant) -> bool:
        if tenant.row is None:
            return False
        return self._cells.total(tenant.row, Kind.WAITING) > tenant.queued

    # Waiting

    async def _queue(self, slug: str, limit: int) -> None:
        tenant = self._find(slug)
        tenant.limit = min(tenant.limit, limit) if tenant.queued else limit
        self._count_queued(tenant, 1)
        if not self._hungry:
            self._look_later()
        self._hungry[slug] = tenant
        try:
            await self._wait(tenant.waiters, limit, partial(self._give_back, tenant))
        finally:
            self._count_queued(tenant, -1)
            self._forget(tenant)

    def _count_queued(self, tenant: _Tenant, more: int) -> None:
        tenant.queued += more
        self._tell(tenant, Kind.WAITING, tenant.queued)

    def _look(self) -> None:
        """Give those who wait what is free by now, and come again while some do."""
        for slug, tenant in list(self._hungry.items()):
            while (waiter := _first(tenant.waiters)) is not None and self._try(tenant):
                tenant.waiters.popleft()
                waiter.set_result(None)
            if not tenant.queued:
                del self._hungry[slug]
        if self._hungry:
            self._look_later()

    def _look_later(self) -> None:
        # Never in step with another process, which would always be first.
        pause = LOOK_SECONDS * (0.5 + random.random())  # noqa: S311 — no secret
        asyncio.get_running_loop().call_later(pause, self._look)

    def _give_back(self, tenant: _Tenant) -> None:
        """Hand a slot to the next who waits here, or to whoever waits elsewhere."""
        share = tenant.limit // self._cells.processes
        if tenant.in_flight <= share or not self._others_wait(tenant):
            waiter = _first(tenant.waiters)
            if waiter is not None:
                tenant.waiters.popleft()
                waiter.set_result(None)
                return
        tenant.in_flight -= 1
        self._tell(tenant, Kind.REQUESTS, tenant.in_flight)


def _first(waiters: deque[asyncio.Future[None]]) -> asyncio.Future[None] | None:
    """The first who still waits."""
    while waiters and waiters[0].done():
        waiters.popleft()
    return waiters[0] if waiters else None
