"""The tenants' listener: an ASGI scope becomes a cleaned Request and enters the corridor."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol

from gateway.bindings.hops import SCOPE_KEY, Hops
from gateway.config import Config
from gateway.dispatch import Dispatcher, Ride
from gateway.edge.cookies import CookieRule
from gateway.edge.cycle import ANNOUNCED, REFUSAL, UPGRADE, arrival_of
from gateway.edge.express import Answers
from gateway.edge.handshake import check_offer
from gateway.edge.head import Head, HeadReader, LastHead, Peer
from gateway.edge.reply import AsgiReply, Handshake, Receive, Send
from gateway.edge.target import MAX_URL
from gateway.errors import ClientDisconnected, Elsewhere, LoadShed, Refusal, UrlTooLong
from gateway.model.http import HeaderList, Request
from gateway.model.invocation import Invocation

# Hop-by-hop fields, which a tenant sees only where the hop is made for it.
_UPGRADE_FIELDS: HeaderList = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
TRIES = 3
"""How often it is asked where a request belongs that could not be handed on."""
_random_bits = random.SystemRandom().getrandbits


class RayIds:
    """Request ids: unique on this node, not guessable from one another, cheap to make."""

    def __init__(self) -> None:
        self._random = random.Random(_random_bits(128))  # noqa: S311 — an id, not a secret

    def next(self) -> str:
        """16 hex digits."""
        return f"{self._random.getrandbits(64):016x}"


class Connection(Protocol):
    """Where a request came in."""

    headers: HeaderList
    """Of the request at hand."""
    scheme: Literal["http", "https"] | None
    client: Peer
    last_head: LastHead


class Departures(Protocol):
    """Where what another process is to serve goes (gateway.edge.departures)."""

    async def send(
        self, place: int, scope: dict[str, Any], receive: Receive, send: Send
    ) -> bool | None:
        """Have a request served there; False when it was not, None when it may be tried again."""


class Edge:
    """The ASGI application of the tenants' listener."""

    def __init__(self, dispatcher: Dispatcher, config: Config, hops: Hops) -> None:
        self._dispatcher = dispatcher
        self._cookies = CookieRule(config.routing)
        self.answers = Answers()
        self._heads = HeadReader(config.routing, hops.read)
        self._next_ray = RayIds().next
        self.arrive = dispatcher.arrive
        """The whole answer to a request that was put in is on its way."""
        self.board_late = dispatcher.board_late
        self.forsake = dispatcher.forsake
        self.departures: Departures | None = None
        """None where there is one process only."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request, which may become a WebSocket."""
        if scope["type"] != "http":
            return
        ray = self._next_ray()
        reply = AsgiReply(send, receive, scope["method"], ray.encode(), self._cookies)
        try:
            request = self._request(scope, receive, ray)
            if UPGRADE in scope:
                reply.handshake = Handshake(scope[UPGRADE], check_offer(scope["headers"]))
                request.websocket = True
                request.headers = request.headers + _UPGRADE_FIELDS
        except Refusal as refusal:
            await self._dispatcher.reject(refusal, _unreadable(scope, ray), reply)
            return
        reply.host = request.host
        try:
            await self._dispatcher.dispatch(request, reply)
        except Elsewhere as elsewhere:
            await self._send_on(elsewhere.place, request, reply, scope, receive, send)
        finally:
            # It refers to the request, and the collector of cycles looks at no request.
            request.receive = None

    async def _send_on(
        self,
        place: int,
        request: Request,
        reply: AsgiReply,
        scope: dict[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        """Leave a request to another process, which records it; refuse it where that fails."""
        for _ in range(TRIES):
            gone = self.departures and await self.departures.send(place, scope, receive, send)
            if gone:
                return
            if gone is False:
                break
            try:
                # The process may just have ended: whose is it now?
                await self._dispatcher.dispatch(request, reply)
            except Elsewhere as elsewhere:
                place = elsewhere.place
            else:
                return
        refusal = LoadShed("The process that serves this worker takes no more requests.")
        await self._dispatcher.reject(refusal, request, reply)

    # Without a task, as long as nothing has to be waited for (gateway.edge.express)

    def board(
        self,
        method: str,
        path: bytes,
        query: bytes,
        connection: Connection,
        on_news: Callable[[], None],
        on_turn: Callable[[], None],
    ) -> Ride | Invocation | None:
        """Put a request without a body in, or have it wait for its turn (see Dispatcher.board);
        None when it has to go the long way."""
        peer = connection.client
        try:
            head = self._heads.read_again(
                connection.headers, connection.scheme or "http", peer, connection.last_head
            )
            request = _make(method, path, query, peer, head, head.hops, self._next_ray())
        except Refusal:
            return None
        return self._dispatcher.board(request, on_news, on_turn)

    async def resume(self, ride: Ride, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve a request that was put in, from where it stands."""
        request = ride.invocation.request
        reply = self._reply(request, receive, send)
        try:
            await self._dispatcher.resume(ride, reply)
        except Elsewhere as elsewhere:
            await self._send_on(elsewhere.place, request, reply, scope, receive, send)

    async def serve_late(
        self, invocation: Invocation, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        """Serve a request whose turn has come."""
        reply = self._reply(invocation.request, receive, send)
        try:
            await self._dispatcher.serve_late(invocation, reply)
        except Elsewhere as elsewhere:
            request = invocation.request
            await self._send_on(elsewhere.place, request, reply, scope, receive, send)

    def _reply(self, request: Request, receive: Receive, send: Send) -> AsgiReply:
        reply = AsgiReply(send, receive, request.method, request.ray.encode(), self._cookies)
        reply.host = request.host
        return reply

    def _request(self, scope: dict[str, Any], receive: Receive, ray: str) -> Request:
        """Raises BadRequest, UrlTooLong or HeadersTooLarge, or what the connection refused."""
        refused: Refusal | None = scope.get(REFUSAL)
        if refused is not None:
            raise refused
        head = self._heads.read(scope["headers"], scope["scheme"], scope["client"])
        path, query, hops = scope["raw_path"], scope["query_string"], scope.get(SCOPE_KEY)
        request = _make(
            scope["method"],
            path,
            query,
            scope["client"],
            head,
            head.hops if hops is None else hops,
            ray,
        )
        if head.has_body:
            request.receive = _body_reader(scope, receive, request)
            request.arrival = arrival_of(receive)
        return request


def _make(
    method: str, path: bytes, query: bytes, peer: Peer, head: Head, hops: int, ray: str
) -> Request:
    if len(path) + len(query) > MAX_URL:
        raise UrlTooLong(f"A URL may be {MAX_URL} bytes long.")
    known = head.known
    return Request(
        ray,
        method,
        known.scheme,
        head.host,
        known.authority,
        path,
        query,
        known.headers,
        (known.client, peer[1] if peer else 0),
        head.accept,
        head.tenant,
        False,  # a WebSocket
        head.content_length,
        hops,
    )


def _body_reader(
    scope: dict[str, Any], receive: Receive, request: Request
) -> Callable[[], Awaitable[tuple[bytes, bool]]]:
    async def read() -> tuple[bytes, bool]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise scope.get(REFUSAL) or ClientDisconnected()
        request.announced = scope.get(ANNOUNCED, 0)
        return message.get("body", b""), message.get("more_body", False)

    return read


def _unreadable(scope: dict[str, Any], ray: str) -> Request:
    """What can be said of a request that is refused at the door."""
    accept = next((v.decode("latin-1") for n, v in scope["headers"] if n == b"accept"), "")
    peer = scope["client"]
    return Request(
        ray=ray,
        method=scope["method"],
        scheme=scope["scheme"],
        host="",
        authority="",
        path=scope["raw_path"][:MAX_URL],
        query=b"",
        headers=[],
        client=(peer[0], peer[1]) if peer else None,
        accept=accept,
    )
