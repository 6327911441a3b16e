"""The corridor: resolve → admit → run → respond → record. One request, top to bottom."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from gateway.errors import (
    ClientDisconnected,
    LoopDetected,
    PlatformFailed,
    Refusal,
    StaleRoute,
)
from gateway.model.http import MAX_HOPS, Reply, Request
from gateway.model.invocation import Invocation
from gateway.model.route import Route
from gateway.model.script import ScriptKey
from gateway.observer import Observer
from sandbox import Outcome

logger = logging.getLogger(__name__)


class Resolver(Protocol):
    """Finds the route of a request (gateway.routing)."""

    def cached(self, request: Request) -> Route | None:
        """The route when memory has it."""

    async def resolve(self, request: Request) -> Route:
        """The route. Raises NotConfigured or ScriptNotFound."""

    def script_changed(self, key: ScriptKey) -> None:
        """Forget what is known of a script."""


class Permit(Protocol):
    """The right to run; held inside ``async with``."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class Gate(Protocol):
    """Admission (gateway.admission)."""

    def admit(self, request: Request, route: Route) -> Permit:
        """The permit to enter."""


class Lease(Protocol):
    """A hold on an instance; leaving it waits for the invocation's end and accounts for it."""

    async def __aenter__(self) -> Lease: ...

    async def __aexit__(self, kind: object, error: object, trace: object) -> None: ...

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


class Dispatcher:
    """Takes a cleaned request to its tenant's code and its reply back."""

    def __init__(
        self, resolver: Resolver, gate: Gate, leases: Leases, pages: ErrorPages, observer: Observer
    ) -> None:
        self._resolver = resolver
        self._gate = gate
        self._leases = leases
        self._pages = pages
        self._observer = observer

    async def dispatch(self, request: Request, reply: Reply) -> None:
        """Serve one request; every way out ends in one record."""
        invocation = Invocation(
            request, timestamp_ms=time.time_ns() // 1_000_000, started_ns=time.monotonic_ns()
        )
        try:
            try:
                await self._run(invocation, request, reply)
            except StaleRoute:
                await self._run(invocation, request, reply)
        except Refusal as refusal:
            await self._refuse(refusal, invocation, reply)
        except (ClientDisconnected, asyncio.CancelledError) as error:
            invocation.outcome = Outcome.CANCELED
            invocation.fault = "client"
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception:
            logger.exception("request failed", extra={"ray": request.ray})
            await self._refuse(PlatformFailed("Something broke here."), invocation, reply)
        finally:
            self._record(invocation)

    async def reject(self, refusal: Refusal, request: Request, reply: Reply) -> None:
        """Answer a request that the edge could not make sense of; recorded like any other."""
        invocation = Invocation(
            request, timestamp_ms=time.time_ns() // 1_000_000, started_ns=time.monotonic_ns()
        )
        try:
            await self._refuse(refusal, invocation, reply)
        finally:
            self._record(invocation)

    async def _run(self, invocation: Invocation, request: Request, reply: Reply) -> None:
        route = self._resolver.cached(request) or await self._resolver.resolve(request)
        invocation.route = route
        if request.hops >= MAX_HOPS:
            raise LoopDetected(f"The request went through {MAX_HOPS} workers already.")
        async with self._gate.admit(request, route):
            try:
                async with self._leases.lease(invocation, route) as lease:
                    try:
                        await lease.serve(reply)
                    except Refusal as refusal:
                        # Inside the lease: the client need not wait for the invocation's own end.
                        await self._refuse(refusal, invocation, reply)
            except StaleRoute:
                self._resolver.script_changed(route.key)
                raise
        if invocation.outcome is Outcome.UNKNOWN and not invocation.code:
            invocation.outcome = Outcome.OK

    async def _refuse(self, refusal: Refusal, invocation: Invocation, reply: Reply) -> None:
        invocation.outcome = refusal.outcome
        invocation.code = refusal.code
        invocation.fault = refusal.fault
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
