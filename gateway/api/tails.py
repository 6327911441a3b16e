"""Live tails as server-sent events: one TraceItem a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Final

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.accounts import Scope
from gateway.api.endpoint import Call, endpoint
from gateway.api.errors import TooManyTails
from gateway.api.services import Services, TailSubscription
from gateway.catalog.owners import check_script_name, owner_within
from gateway.errors import WaypostError
from gateway.telemetry.filters import Filters

HEARTBEAT_SECONDS: Final = 10.0
"""How often an idle tail says that it is alive."""


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, "/v1/tenants/{slug}/tail", "GET", _tenant_tail, need=Scope.TAIL),
        endpoint(services, "/v1/scripts/{name}/tail", "GET", _script_tail, need=Scope.TAIL),
    ]


async def _tenant_tail(call: Call) -> Response:
    call.require_tenant(call.path("slug"))
    tenant = await call.services.tenants.get(call.path("slug"))
    return _stream(call, None, tenant.slug)


async def _script_tail(call: Call) -> Response:
    """A script may be tailed before it is deployed."""
    name = call.path("name")
    check_script_name(name)
    owner = await owner_within(call.services.tenants, name, call.scope)
    return _stream(call, name, owner.slug)


def _stream(call: Call, script: str | None, tenant: str) -> Response:
    # Invocations only, unless asked: that is what readers of TraceItems expect.
    everything = Filters(()) if call.query("deployments") == "true" else None
    try:
        subscription = call.services.tail.subscribe(script=script, tenant=tenant, wanted=everything)
    except WaypostError as error:
        raise TooManyTails(str(error), fix="close another tail first") from None
    return StreamingResponse(
        events(subscription, HEARTBEAT_SECONDS),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def events(
    subscribing: AbstractAsyncContextManager[TailSubscription], heartbeat_seconds: float
) -> AsyncGenerator[bytes, None]:
    """The event stream: a comment at once and when idle, items, and how many were lost."""
    async with subscribing as subscription:
        yield b": waypost tail\n\n"
        items = aiter(subscription)
        told = 0
        waiting = asyncio.ensure_future(anext(items))
        try:
            while True:
                await asyncio.wait({waiting}, timeout=heartbeat_seconds)
                if subscription.dropped > told:
                    told = subscription.dropped
                    yield b'event: dropped\ndata: {"dropped":%d}\n\n' % told
                if not waiting.done():
                    yield b": alive\n\n"
                    continue
                try:
                    item = waiting.result()
                except StopAsyncIteration:
                    return
                yield b"data: " + item.replace(b"\n", b" ") + b"\n\n"
                waiting = asyncio.ensure_future(anext(items))
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})
