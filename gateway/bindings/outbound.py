"""Performs the tenants' subrequests.

One pool of HTTP/1.1 connections serves all tenants: nothing of a request stays with a connection.
There is deliberately no HTTP client above it: clients keep cookies, read proxies and passwords from
the environment, and follow redirects by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, Protocol, cast, runtime_checkable

import httpcore
import httpx

from gateway.bindings.addresses import AddressPolicy
from gateway.bindings.decoding import Decoder, decoder_for
from gateway.bindings.egress import (
    CONNECT_SECONDS,
    GuardedBackend,
    Resolver,
    SystemResolver,
    owner,
)
from gateway.bindings.errors import OutboundError, outbound_error
from gateway.bindings.hops import HEADER as HOPS
from gateway.bindings.hops import Hops
from gateway.bindings.own import OwnHostnames
from gateway.bindings.requests import (
    HOP_BY_HOP,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    REDIRECTS,
    Outgoing,
)
from gateway.bindings.shares import Shares, Turns
from gateway.config import Egress
from gateway.model.http import HeaderList
from sandbox.payloads import FetchedHead, FetchHead

__all__ = ["MAX_REDIRECTS", "Outbound", "OutboundError", "OutboundResponse"]

MAX_REDIRECTS: Final = 20
"""Redirects followed for one subrequest, as in the Fetch standard."""
_MAX_CONNECTIONS: Final = 1000
CONNECTIONS_EACH: Final = 200
"""Connections that one tenant has in use at once; servers that never answer hold them for long."""
STEPS: Final = 8
"""Pieces of an answer that are passed on in one turn of the event loop."""
_MAX_IDLE: Final = 200
_IDLE_SECONDS: Final = 15.0
_MAX_REASON: Final = 128
_NO_BODY: Final = frozenset({204, 205, 304})


class OutboundResponse:
    """The answer to a subrequest: its body is read once, then ``close`` frees the connection."""

    def __init__(
        self,
        head: FetchedHead,
        response: httpcore.Response,
        decoder: Decoder | None,
        host: str,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        """``turn`` waits for the tenant's next turn of the event loop."""
        self.head = head
        self._response = response
        self._decoder = decoder
        self._host = host
        self._turn = turn
        self._steps = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces of at most 64 KiB. Raises OutboundError when it breaks off."""
        try:
            async for chunk in self._response.aiter_stream():
                pieces = self._decoder.feed(chunk) if self._decoder is not None else (chunk,)
                for piece in pieces:
                    if piece:
                        yield piece
                    await self._step()
            if self._decoder is not None:
                self._decoder.finish()
        except ValueError as error:
            raise OutboundError("protocol_error", f"{self._host}: {error}") from None
        except _TRANSPORT_ERRORS as error:
            raise outbound_error(error, self._host) from None

    async def _step(self) -> None:
        """Who sends a byte at a time must not keep the event loop for what came at once."""
        self._steps += 1
        if self._steps == STEPS:
            self._steps = 0
            await self._turn()

    async def close(self) -> None:
        """End it, read or not; may be called more than once."""
        await self._response.aclose()


_TRANSPORT_ERRORS: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)


@runtime_checkable
class _Closable(Protocol):
    def aclose(self) -> Awaitable[None]: ...


class _Lent:
    """The body of an answer whose connection counts until it is closed."""

    def __init__(self, body: AsyncIterable[bytes], give: Callable[[], None]) -> None:
        self._body = body
        self._give: Callable[[], None] | None = give

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    async def aclose(self) -> None:
        """May be called more than once."""
        give, self._give = self._give, None
        if give is None:
            return
        try:
            if isinstance(self._body, _Closable):
                await self._body.aclose()
        finally:
            give()


class Outbound:
    """What a subrequest goes through on its way out."""

    def __init__(self, config: Egress, *, hops: Hops, resolver: Resolver | None = None) -> None:
        self._hops = hops
        self.own: OwnHostnames | None = None
        """Where subrequests to the platform's own hostnames go; None: out, like the others."""
        self._resolver = resolver or SystemResolver()
        policy = AddressPolicy(allow_private=config.allow_private, allow=config.allow)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(verify=True, trust_env=False),
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            http1=True,
            http2=False,
            network_backend=GuardedBackend(policy, self._resolver),
        )
        wait = config.timeout_seconds
        connect = min(wait, CONNECT_SECONDS)
        self._wait_seconds = wait
        self._connections = Shares(CONNECTIONS_EACH)
        self._turns = Turns()
        self._timeouts = {"connect": connect, "read": wait, "write": wait, "pool": wait}

    def __repr__(self) -> str:
        connections = self._pool.connections
        idle = sum(connection.is_idle() for connection in connections)
        return f"<Outbound, {len(connections) - idle} active, {idle} idle>"

    async def fetch(
        self,
        head: FetchHead,
        body: AsyncIterator[bytes] | None,
        *,
        hops: int = 1,
        tenant: str = "",
    ) -> OutboundResponse:
        """Send a tenant's subrequest, following redirects as it says. Raises OutboundError.

        ``hops`` workers asked each other before it, the one that sends it included.
        """
        await self._turns.wait(tenant)
        if head.redirect not in ("follow", "manual", "error"):
            raise OutboundError("bad_request", "redirect must be follow, manual or error")
        outgoing = Outgoing(head, body)
        for redirects in range(MAX_REDIRECTS + 1):
            response = await self._send(outgoing, hops, tenant)
            try:
                location = _location(response)
                if location is None or head.redirect == "manual":
                    turn = partial(self._turns.wait, tenant)
                    return _answer(outgoing, response, turn, redirected=redirects > 0)
                if head.redirect == "error":
                    raise OutboundError("redirect", f"{outgoing.url.host} answered with a redirect")
            except BaseException:
                await response.aclose()
                raise
            await response.aclose()
            outgoing.follow(response.status, location)
        raise OutboundError("too_many_redirects", f"more than {MAX_REDIRECTS} redirects")

    async def close(self) -> None:
        """Close every connection; answers still being read break off."""
        if self.own is not None:
            await self.own.close()
        await self._pool.aclose()
        self._resolver.close()

    async def _send(self, outgoing: Outgoing, hops: int, tenant: str) -> httpcore.Response:
        url = outgoing.url
        request = httpcore.Request(
            method=outgoing.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=outgoing.fields(),
            content=outgoing.body.stream() if outgoing.body else None,
            extensions={"timeout": self._timeouts},
        )
        try:
            if self.own is not None and await self.own.serves(url):
                return await self.own.send(request, hops)
            request.headers.append((HOPS, self._hops.write(hops)))
            return await self._go_out(request, tenant)
        except _TRANSPORT_ERRORS as error:
            raise outbound_error(error, url.host) from None

    async def _go_out(self, request: httpcore.Request, tenant: str) -> httpcore.Response:
        """Send a request over one of the tenant's share of connections."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._connections.take(tenant)
        except TimeoutError:
            raise httpcore.PoolTimeout from None
        give = partial(self._connections.give, tenant)
        before = owner.set(tenant)
        try:
            response = await self._pool.handle_async_request(request)
        except BaseException:
            give()
            raise
        finally:
            owner.reset(before)
        response.stream = _Lent(cast("AsyncIterable[bytes]", response.stream), give)
        return response


def _location(response: httpcore.Response) -> bytes | None:
    if response.status not in REDIRECTS:
        return None
    return next((value for name, value in response.headers if name.lower() == b"location"), None)


def _answer(
    outgoing: Outgoing,
    response: httpcore.Response,
    turn: Callable[[], Awaitable[None]],
    *,
    redirected: bool,
) -> OutboundResponse:
    """Check the head of an answer and wrap it. Raises OutboundError."""
    host = outgoing.url.host
    size = sum(len(name) + len(value) for name, value in response.headers)
    if len(response.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise OutboundError("protocol_error", f"{host} answered with too many headers")
    if not 200 <= response.status <= 599:
        raise OutboundError("protocol_error", f"{host} answered with status {response.status}")
    headers: HeaderList = [
        (name.lower(), value)
        for name, value in response.headers
        if name.lower() not in HOP_BY_HOP and not name.lower().startswith(b"waypost-")
    ]
    decoder = None
    has_body = outgoing.method != "HEAD" and response.status not in _NO_BODY
    if outgoing.decode and has_body:
        encodings = [value for name, value in headers if name == b"content-encoding"]
        decoder = decoder_for(encodings[0]) if len(encodings) == 1 else None
    if decoder is not None:
        gone = (b"content-encoding", b"content-length")
        headers = [field for field in headers if field[0] not in gone]
    reason = response.extensions.get("reason_phrase", b"")
    head = FetchedHead(
        status=response.status,
        status_text=reason[:_MAX_REASON].decode("latin-1"),
        headers=headers,
        url=str(outgoing.url),
        redirected=redirected,
    )
    return OutboundResponse(head, response, decoder, host, turn)
