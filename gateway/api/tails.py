"""Live tails as server-sent events: one TraceItem a message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from gateway.accounts import Scope
from gateway.accounts.errors import TokenMissing
from gateway.api.endpoint import Call, answer, endpoint
from gateway.api.errors import TooManyTails
from gateway.api.services import Services, TailSubscription
from gateway.catalog.owners import check_script_name, owner_within
from gateway.errors import WaypostError
from gateway.telemetry.endings import REVOKED
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
        raise _too_many(error) from None
    return _Events(call, _watched(call, subscription, tenant, script))


class _Events(Response):
    """An event stream whose head is sent once it listens: who has it misses nothing after it."""

    def __init__(self, call: Call, stream: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._call = call
        self._stream = stream

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._stream):
            response = await answer(self._call.request, self._begin)
            await response(scope, receive, send)

    async def _begin(self) -> Response:
        try:
            first = await anext(self._stream)
        except WaypostError as error:
            # The last place was taken since it was asked for.
            raise _too_many(error) from None
        return StreamingResponse(
            _all(first, self._stream),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )


async def _all(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for chunk in rest:
        yield chunk


def _too_many(error: WaypostError) -> TooManyTails:
    return TooManyTails(str(error), fix="close another tail first")


async def _watched(
    call: Call,
    subscribing: AbstractAsyncContextManager[TailSubscription],
    tenant: str,
    script: str | None,
) -> AsyncGenerator[bytes, None]:
    """The event stream, as long as the token is good and there is something to listen to."""
    who, services = call.principal, call.services
    watching = services.endings.watch(
        token_id=who.token_id, expires_ms=who.expires_ms, tenant=tenant, script=script
    )
    with watching as watch:
        try:
            # It may have been revoked since it was looked at.
            await services.tokens.get(who.tenant, who.token_id)
        except TokenMissing:
            watch.end(REVOKED)
        stream = events(subscribing, HEARTBEAT_SECONDS, watch.ended)
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                yield chunk


def _event(item: bytes) -> bytes:
    return b"data: " + item.replace(b"\n", b" ") + b"\n\n"


async def events(
    subscribing: AbstractAsyncContextManager[TailSubscription],
    heartbeat_seconds: float,
    ended: asyncio.Future[str],
) -> AsyncGenerator[bytes, None]:
    """The event stream: a comment at once and when idle, items, how many were lost, why it ends."""
    async with subscribing as subscription:
        yield b": waypost tail\n\n"
        items = aiter(subscription)
        told = 0
        waiting = asyncio.ensure_future(anext(items))
        try:
            while True:
                either: set[asyncio.Future[Any]] = {waiting, ended}
                await asyncio.wait(
                    either,
                    timeout=heartbeat_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if ended.done():
                    yield b"event: end\ndata: %b\n\n" % msgspec.json.encode(
                        {"reason": ended.result()}
                    )
                    return
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
                yield b"".join(map(_event, (item, *subscription.more())))
                waiting = asyncio.ensure_future(anext(items))
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})
