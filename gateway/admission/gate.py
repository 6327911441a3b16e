"""Admits requests: each holds one of its tenant's concurrency slots until it is over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from gateway.admission.bodies import MIB, Bodies
from gateway.errors import BodyTooLarge, LoadShed, Suspended
from gateway.model.http import Request
from gateway.model.route import Route
from gateway.model.script import TenantStatus

QUEUE_FACTOR = 10
"""A tenant's queue holds this many requests for each of its concurrency slots."""


class _Tenant:
    __slots__ = ("in_flight", "sockets", "waiters")

    def __init__(self) -> None:
        self.in_flight = 0
        self.sockets = 0
        """WebSockets, open or about to be."""
        self.waiters: deque[asyncio.Future[None]] = deque()


class Permit:
    """A held slot; leaving the ``async with`` gives it back."""

    __slots__ = ("_early", "_gate", "_held", "_request", "_route")

    def __init__(self, gate: Gate, request: Request, route: Route, *, held: bool) -> None:
        self._gate = gate
        self._request = request
        self._route = route
        self._held = held
        self._early = False
        """It went in before its body came."""

    async def __aenter__(self) -> None:
        if self._held:
            return
        self._gate.check(self._request, self._route)
        if self._request.arrival is not None:
            bodies, tenant = self._gate.bodies, self._route.tenant
            self._early = await bodies.enter(self._request, tenant, self._route.limits)
        try:
            await self._gate.enter(self._request, self._route)
        except BaseException:
            self._leave_body()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave_body()
        self._gate.leave(self._route.tenant, websocket=self._request.websocket)

    def _leave_body(self) -> None:
        if self._early:
            self._early = False
            self._gate.bodies.leave(self._route.tenant)


class Gate:
    """Admission on this node."""

    def __init__(self, *, queue_seconds: float) -> None:
        self._queue_seconds = queue_seconds
        self._tenants: dict[str, _Tenant] = {}
        self.bodies = Bodies()
        """Requests whose bodies have not come."""

    def admit(self, request: Request, route: Route, *, entered: bool = False) -> Permit:
        """The permit to enter with ``async with``, which waits for a slot unless it is held.

        Entering raises Suspended, BodyTooLarge, or LoadShed when the queue is full or too slow.
        """
        return Permit(self, request, route, held=entered)

    def try_enter(self, request: Request, route: Route) -> bool:
        """Take a slot of the tenant's if that takes no waiting and there is nothing to refuse."""
        if route.status is not TenantStatus.ACTIVE or request.content_length or request.websocket:
            return False
        tenant = self._tenants.get(route.tenant)
        if tenant is None:
            tenant = self._tenants[route.tenant] = _Tenant()
        if tenant.in_flight >= route.limits.concurrency:
            return False
        tenant.in_flight += 1
        return True

    def check(self, request: Request, route: Route) -> None:
        """Raise what a request is refused for whoever else is there: Suspended, BodyTooLarge."""
        limits = route.limits
        if route.status is not TenantStatus.ACTIVE:
            raise Suspended("This worker has been suspended by the platform's operator.")
        length = request.content_length
        if length is not None and length > limits.body_mb * MIB:
            raise BodyTooLarge(f"The plan allows request bodies up to {limits.body_mb} MB.")

    async def enter(self, request: Request, route: Route) -> None:
        """Take a slot of the tenant's; see ``admit``."""
        limits = route.limits
        if request.websocket:
            if not self._take_socket(route.tenant, limits.websockets):
                raise LoadShed(f"The plan allows {limits.websockets} WebSockets at once.")
        elif not self._take(route.tenant, limits.concurrency):
            await self._queue(route.tenant, limits.concurrency)

    def _tenant(self, slug: str) -> _Tenant:
        tenant = self._tenants.get(slug)
        if tenant is None:
            tenant = self._tenants[slug] = _Tenant()
        return tenant

    def _take(self, slug: str, limit: int) -> bool:
        tenant = self._tenant(slug)
        if tenant.in_flight >= limit:
            return False
        tenant.in_flight += 1
        return True

    def _take_socket(self, slug: str, limit: int) -> bool:
        tenant = self._tenant(slug)
        if tenant.sockets >= limit:
            return False
        tenant.sockets += 1
        return True

    async def _queue(self, slug: str, limit: int) -> None:
        tenant = self._tenant(slug)
        await self._wait(tenant.waiters, limit, partial(self._release, tenant))

    async def _wait(
        self, waiters: deque[asyncio.Future[None]], limit: int, give_back: Callable[[], None]
    ) -> None:
        """Wait among ``waiters`` for a slot. ``give_back`` one that nobody wants any more."""
        if len(waiters) >= limit * QUEUE_FACTOR:
            raise LoadShed("Too many requests of this worker are waiting already.")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(future)
        try:
            await asyncio.wait_for(future, self._queue_seconds)
        except TimeoutError:
            raise LoadShed(
                f"The request waited {self._queue_seconds:g} s for one of the {limit} that "
                "the plan allows at once."
            ) from None
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                give_back()
            raise
        finally:
            if future.cancelled():
                # Who gave up takes nobody's place in the queue.
                with suppress(ValueError):
                    waiters.remove(future)

    def leave(self, slug: str, *, websocket: bool = False) -> None:
        """Give a slot back."""
        tenant = self._tenants[slug]
        if websocket:
            tenant.sockets -= 1
        elif tenant.waiters:
            self._release(tenant)
        else:
            tenant.in_flight -= 1
        if tenant.in_flight == 0 and tenant.sockets == 0:
            del self._tenants[slug]

    def _release(self, tenant: _Tenant) -> None:
        while tenant.waiters:
            future = tenant.waiters.popleft()
            if not future.done():
                future.set_result(None)
                return
        tenant.in_flight -= 1
