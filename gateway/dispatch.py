"""The corridor: resolve → admit → run → respond → record. One request, top to bottom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from gateway.errors import (
    ClientDisconnected,
    Elsewhere,
    LoopDetected,
    PlatformFailed,
    Refusal,
    StaleRoute,
    WaypostError,
)
from gateway.model.http import MAX_HOPS, Reply, Request
from gateway.model.invocation import Invocation
from gateway.model.route import Route
from gateway.model.script import ScriptKey
from gateway.model.websocket import Pace
from gateway.observer import Observer
from sandbox import Outcome
from sandbox.payloads import ResponseHead

logger = logging.getLogger(__name__)


class Resolver(Protocol):
    """Finds the route of a request (gateway.routing)."""

    def cached(self, request: Request) -> Route | None:
        """The route when memory has it."""

    def asks(self, request: Request) -> bool:
        """Whether ``resolve`` has to ask the store."""

    async def resolve(self, request: Request) -> Route:
        """The route. Raises NotConfigured or ScriptNotFound."""

    async def resolve_script(self, key: ScriptKey) -> Route:
        """The route of what a script serves. Raises ScriptNotFound."""

    def script_changed(self, key: ScriptKey) -> None:
        """Forget what is known of a script."""


class Permit(Protocol):
    """The right to run; held inside ``async with``."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class Gate(Protocol):
    """Admission (gateway.admission)."""

    def admit(self, request: Request, route: Route, *, entered: bool = False) -> Permit:
        """The permit to enter; or that of one who has entered already."""

    def try_enter(self, request: Request, route: Route) -> bool:
        """Enter without waiting and without a permit, if that can be."""

    def leave(self, tenant: str) -> None:
        """Give back what ``try_enter`` took."""


class Turnstile(Protocol):
    """Whose request goes on (gateway.admission)."""

    def passes(self, route: Route) -> bool:
        """Whether a request goes on now."""

    def wait(self, route: Route, go: Callable[[], None]) -> None:
        """Have ``go`` called when it is the request's turn."""

    async def enter(self, route: Route) -> bool:
        """Wait for a turn, if that is needed; whether it was. Raises LoadShed."""

    async def enter_unknown(self, address: str, *, asks: bool = False) -> None:
        """The same for what leads nowhere, or nobody knows yet where to."""

    async def enter_as(self, name: str, cost: int) -> bool:
        """The same for what is no tenant's."""

    def pace(self, route: Route) -> Pace:
        """How fast the frames of a tenant's WebSocket are read."""

    def check(self, came_ns: int) -> None:
        """Raise LoadShed when a request that came then has waited for too long."""

    def is_late(self, came_ns: int) -> bool:
        """Whether it has."""


class Homes(Protocol):
    """Where scripts are served (gateway.processes)."""

    def elsewhere(self, route: Route) -> int | None:
        """The process that a request belongs to; None when it may be served here."""


class Lease(Protocol):
    """A hold on an instance; leaving it waits for the invocation's end and accounts for it."""

    async def __aenter__(self) -> Lease: ...

    async def __aexit__(self, kind: object, error: object, trace: object) -> None: ...

    def try_enter(self, on_news: Callable[[], None]) -> bool:
        """Enter without waiting, if that can be; ``on_news`` is then called once."""

    def answer(self) -> tuple[ResponseHead, int] | None:
        """Head and body bytes of an invocation that is over and went well; None of any other."""

    def take(self) -> bytes:
        """The body that ``answer`` told of."""

    def fail(self, failure: WaypostError) -> None:
        """End the answer with an error."""

    def leave(self) -> None:
        """Account for an invocation that is over."""

    async def serve(self, reply: Reply) -> None:
        """Carry the request in and the reply out. Raises Refusal or ClientDisconnected."""


class Leases(Protocol):
    """Instances to run in (gateway.pool)."""

    def lease(self, invocation: Invocation, route: Route) -> Lease:
        """The lease to enter; entering raises Refusal, or StaleRoute."""


class ErrorPages(Protocol):
    """Writes the page of a refusal (gateway.edge)."""

    async def __call__(self, refusal: Refusal, request: Request, reply: Reply) -> int:
        """Send it; return the bytes of its body."""


class Ride(NamedTuple):
    """A request that was taken in without waiting."""

    invocation: Invocation
    route: Route
    lease: Lease


class Dispatcher:
    """Takes a cleaned request to its tenant's code and its reply back."""

    def __init__(
        self,
        resolver: Resolver,
        turnstile: Turnstile,
        gate: Gate,
        leases: Leases,
        pages: ErrorPages,
        observer: Observer,
    ) -> None:
        self._resolver = resolver
        self._turnstile = turnstile
        self.enter_as = turnstile.enter_as
        """Wait for a turn of the event loop, beside tenants' requests."""
        self.homes: Homes | None = None
        """None where there is one process only."""
        self._gate = gate
        self._leases = leases
        self._pages = pages
        self._observer = observer

    async def dispatch(self, request: Request, reply: Reply) -> None:
        """Serve one request; every way out ends in one record.

        Raises Elsewhere, unrecorded, when another process is to serve it.
        """
        invocation = Invocation(
            request, timestamp_ms=time.time_ns() // 1_000_000, started_ns=time.monotonic_ns()
        )
        await self._guard(invocation, reply, self._run(invocation, reply))

    async def _guard(self, invocation: Invocation, reply: Reply, way: Awaitable[None]) -> None:
        request, here = invocation.request, True
        try:
            try:
                await way
            except StaleRoute:
                await self._run(invocation, reply)
        except Elsewhere:
            here = False
            raise
        except Refusal as refusal:
            await self._refuse(refusal, invocation, reply)
        except StaleRoute:
            often = PlatformFailed("The worker was replaced too often.")
            await self._refuse(often, invocation, reply)
        except (ClientDisconnected, asyncio.CancelledError) as error:
            invocation.outcome = Outcome.CANCELED
            invocation.fault = "client"
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception:
            logger.exception("request failed", extra={"ray": request.ray})
            await self._refuse(PlatformFailed("Something broke here."), invocation, reply)
        finally:
            if here:
                self._record(invocation)

    async def reject(self, refusal: Refusal, request: Request, reply: Reply) -> None:
        """Answer a request that the edge could not make sense of; recorded like any other."""
        invocation = Invocation(
            request, timestamp_ms=time.time_ns() // 1_000_000, started_ns=time.monotonic_ns()
        )
        await self._guard(invocation, reply, self._turn_away(invocation, refusal))

    async def invoke(
        self, request: Request, reply: Reply, refusal: Refusal | None = None
    ) -> Invocation:
        """Do what a schedule asks for, or refuse it; how it went. Raises Elsewhere."""
        invocation = Invocation(
            request, timestamp_ms=time.time_ns() // 1_000_000, started_ns=time.monotonic_ns()
        )
        way = (
            self._run(invocation, reply)
            if refusal is None
            else self._turn_away(invocation, refusal)
        )
        await self._guard(invocation, reply, way)
        return invocation

    async def _turn_away(self, invocation: Invocation, refusal: Refusal) -> None:
        """Refuse what is known to belong to a script."""
        if invocation.request.scheduled is not None:
            key = invocation.request.scheduled.key
            invocation.route = await self._resolver.resolve_script(key)
            await self._turnstile.enter(invocation.route)
        else:
            await self._turnstile.enter_unknown(_address(invocation.request))
        raise refusal

    # The same without a task, as far as nothing has to be waited for

    def board(
        self, request: Request, on_news: Callable[[], None], on_turn: Callable[[], None]
    ) -> Ride | Invocation | None:
        """Put a request in at once; None when something has to be waited for, or refused.

        ``on_news`` is called once; after that ``arrive`` or ``resume`` is due. Where it is not the
        tenant's turn, the invocation that waits is returned; ``on_turn`` is called once then, and
        ``board_late``, ``serve_late`` or ``forsake`` is due.
        """
        route = self._resolver.cached(request)
        if route is None or request.hops >= MAX_HOPS:
            return None
        invocation = Invocation(request, time.time_ns() // 1_000_000, time.monotonic_ns(), route)
        if self._turnstile.passes(route):
            return self._enter(invocation, route, on_news)
        invocation.in_turn = True
        self._turnstile.wait(route, on_turn)
        return invocation

    def board_late(self, invocation: Invocation, on_news: Callable[[], None]) -> Ride | None:
        """Put in one whose turn has come, or leave it to ``serve_late``."""
        route = invocation.route = self._resolver.cached(invocation.request)
        if route is None or self._turnstile.is_late(invocation.started_ns):
            return None
        return self._enter(invocation, route, on_news)

    def _enter(
        self, invocation: Invocation, route: Route, on_news: Callable[[], None]
    ) -> Ride | None:
        if not self._gate.try_enter(invocation.request, route):
            return None
        lease = self._leases.lease(invocation, route)
        if not lease.try_enter(on_news):
            self._gate.leave(route.tenant)
            return None
        return Ride(invocation, route, lease)

    def arrive(self, ride: Ride) -> None:
        """The whole answer is on its way: account for it."""
        invocation, route, lease = ride
        try:
            lease.leave()
            self._gate.leave(route.tenant)
            _settle(invocation)
        finally:
            self._record(invocation)

    async def serve_late(self, invocation: Invocation, reply: Reply) -> None:
        """Serve a request whose turn has come. Raises Elsewhere."""
        await self._guard(invocation, reply, self._run(invocation, reply))

    def forsake(self, invocation: Invocation) -> None:
        """The client of a request was gone before its turn came."""
        invocation.outcome = Outcome.CANCELED
        invocation.fault = "client"
        self._record(invocation)

    async def resume(self, ride: Ride, reply: Reply) -> None:
        """Serve a request that was put in, from where it stands. Raises Elsewhere."""
        invocation, route, lease = ride
        permit = self._gate.admit(invocation.request, route, entered=True)
        await self._guard(invocation, reply, self._inside(invocation, permit, lease, reply))

    async def _run(self, invocation: Invocation, reply: Reply) -> None:
        request = invocation.request
        route = invocation.route = await self._resolve(request)
        reply.unlisted = route.preview
        if request.websocket:
            reply.pace = self._turnstile.pace(route)
        if invocation.in_turn:
            self._turnstile.check(invocation.started_ns)
        else:
            invocation.in_turn = await self._turnstile.enter(route)
        if request.hops >= MAX_HOPS:
            raise LoopDetected(f"The request went through {MAX_HOPS} workers already.")
        if self.homes is not None and (place := self.homes.elsewhere(route)) is not None:
            raise Elsewhere(place)
        permit, lease = self._gate.admit(request, route), self._leases.lease(invocation, route)
        try:
            await self._inside(invocation, permit, lease, reply)
        except StaleRoute:
            self._resolver.script_changed(route.key)
            raise

    async def _resolve(self, request: Request) -> Route:
        if request.scheduled is not None:
            return await self._resolver.resolve_script(request.scheduled.key)
        route = self._resolver.cached(request)
        if route is not None:
            return route
        if self._resolver.asks(request):
            # First: whoever makes names up is to wait for themselves.
            await self._turnstile.enter_unknown(_address(request), asks=True)
            return await self._resolver.resolve(request)
        try:
            return await self._resolver.resolve(request)
        except Refusal:
            await self._turnstile.enter_unknown(_address(request))
            raise

    async def _inside(
        self, invocation: Invocation, permit: Permit, lease: Lease, reply: Reply
    ) -> None:
        async with permit, lease:
            try:
                await lease.serve(reply)
            except Refusal as refusal:
                # Inside the lease: the client need not wait for the invocation's own end.
                await self._refuse(refusal, invocation, reply)
        _settle(invocation)

    async def _refuse(self, refusal: Refusal, invocation: Invocation, reply: Reply) -> None:
        invocation.outcome = refusal.outcome
        invocation.code = refusal.code
        invocation.fault = refusal.fault
        if refusal.record is not None:
            invocation.exceptions.append(refusal.record)
        if reply.started:
            # The client has part of an answer: a cut connection is the only honest end.
            invocation.outcome = refusal.cut_outcome or refusal.outcome
            reply.abort()
            return
        invocation.status = refusal.status
        try:
            invocation.bytes_out = await self._pages(refusal, invocation.request, reply)
        except ClientDisconnected:
            logger.debug("client left before its error page", extra={"ray": invocation.request.ray})

    def _record(self, invocation: Invocation) -> None:
        invocation.wall_ns = time.monotonic_ns() - invocation.started_ns
        self._observer.invocation(invocation)


def _address(request: Request) -> str:
    return request.client[0] if request.client is not None else ""


def _settle(invocation: Invocation) -> None:
    """What nobody found fault with went well."""
    if invocation.outcome is Outcome.UNKNOWN and not invocation.code:
        invocation.outcome = Outcome.OK
