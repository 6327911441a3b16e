"""A request's hold on an instance: put in, carry its bytes both ways, account for it, let go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from gateway.errors import BodyTooLarge, ClientDisconnected, NoWebSockets, Refusal, WaypostError
from gateway.model.http import Reply, Request
from gateway.model.invocation import Invocation
from gateway.model.route import Route
from gateway.observer import Observer
from gateway.pool.exchange import Exchange
from gateway.pool.instance import Instance
from gateway.pool.pool import Pool
from gateway.pool.socket import Relay, WireSocket, close_for
from sandbox import Outcome, protocol
from sandbox.payloads import ResponseHead

MIB = 1 << 20
CANCEL_GRACE_SECONDS = 2.0
"""What an invocation gets to finish once its client is gone."""
TICK_SECONDS = 1.0
"""Open WebSockets are looked at this often."""
WATCH_SECONDS = 0.05
"""A request older than this has its client watched."""
PASS_ON_FROM = 128 * 1024
"""Bytes of an answer after which it counts as large."""


class Lease:
    """``async with`` it, then ``serve``; leaving waits until the invocation is over."""

    __slots__ = (
        "_exchange",
        "_instance",
        "_invocation",
        "_leases",
        "_reply",
        "_route",
        "_upload_task",
        "_watch",
    )

    def __init__(self, leases: Leases, invocation: Invocation, route: Route) -> None:
        self._leases = leases
        self._invocation = invocation
        self._route = route
        self._instance: Instance | None = None
        self._exchange: Exchange | None = None
        self._reply: Reply | None = None
        self._upload_task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    # Without waiting

    def try_enter(self, on_news: Callable[[], None]) -> bool:
        """Put the request in at once, if an instance has room; ``on_news`` is called once then."""
        instance = self._leases.pool.try_lease(self._route)
        if instance is None:
            return False
        self._open(instance).on_news = on_news
        return True

    def answer(self) -> tuple[ResponseHead, int] | None:
        """Head and body bytes of an invocation that is over and went well; None of any other."""
        instance, exchange = self._instance, self._exchange
        if instance is None or exchange is None or exchange.head is None:
            return None
        if not (exchange.done and exchange.ended) or exchange.failure is not None:
            return None
        if instance.exceeded(exchange) is not None:
            return None
        return exchange.head, exchange.untaken

    def take(self) -> bytes:
        """The body that ``answer`` told of."""
        return self._exchange.take_all() if self._exchange is not None else b""

    def fail(self, failure: WaypostError) -> None:
        """End the answer with an error."""
        if self._exchange is not None:
            self._exchange.fail(failure)

    def leave(self) -> None:
        """Account for an invocation that ``answer`` told of."""
        if self._instance is not None and self._exchange is not None:
            self._account(self._instance, self._exchange, None)

    # Waiting for what is needed

    async def __aenter__(self) -> Lease:
        if self._exchange is not None:
            return self
        pool, invocation = self._leases.pool, self._invocation
        instance = pool.try_lease(self._route)
        if instance is None:
            invocation.cold = not pool.has_instance(self._route)
            instance = await pool.lease(self._route)
        if invocation.request.websocket and instance.kind == "wsgi":
            raise NoWebSockets("This worker is a WSGI application, which knows no WebSockets.")
        self._open(instance)
        return self

    def _open(self, instance: Instance) -> Exchange:
        invocation = self._invocation
        now_ns = time.monotonic_ns()
        invocation.queue_ns = now_ns - invocation.started_ns
        self._instance = instance
        self._exchange = instance.open(invocation.request, self._route, now_ns)
        return self._exchange

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        instance, exchange = self._instance, self._exchange
        if instance is None or exchange is None:
            return
        try:
            if not exchange.done:
                gone = isinstance(error, ClientDisconnected | asyncio.CancelledError)
                await self._wait_for_end(exchange, gone=gone)
        finally:
            if self._watch is not None:
                self._watch.cancel()
            if not exchange.done:
                instance.abandon(exchange)
            self._account(instance, exchange, instance.exceeded(exchange))

    async def _wait_for_end(self, exchange: Exchange, *, gone: bool) -> None:
        """Until DONE; the wall limit bounds it, a short grace when nobody waits any more."""
        if not gone:
            await exchange.finished()
            return
        exchange.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(exchange.finished(), CANCEL_GRACE_SECONDS)

    def _account(self, instance: Instance, exchange: Exchange, late: Refusal | None) -> None:
        invocation = self._invocation
        invocation.cpu_ns = instance.settle(exchange)
        invocation.subrequests = exchange.subrequests
        invocation.logs = exchange.logs
        invocation.exceptions = exchange.exceptions
        invocation.truncated = exchange.truncated
        instance.leave(exchange)
        late = exchange.afterwards or late
        if invocation.outcome is Outcome.UNKNOWN and (exchange.failure is None or exchange.ended):
            if late is not None:
                invocation.outcome = late.outcome
            elif exchange.exceptions:
                invocation.outcome = Outcome.EXCEPTION

    async def serve(self, reply: Reply) -> None:
        """Carry the request in and the reply out.

        Raises the Refusal that ended it, or ClientDisconnected.
        """
        instance, exchange, request = self._instance, self._exchange, self._invocation.request
        if instance is None or exchange is None:
            raise RuntimeError("serve() outside of the lease")
        self._reply = reply
        if request.receive is not None:
            self._upload_task = asyncio.create_task(self._upload(exchange, request))
        self._leases.begin(self)
        try:
            await self._respond(instance, exchange, reply)
        finally:
            self._leases.end(self)
            exchange.keep()
            if self._upload_task is not None:
                self._upload_task.cancel()

    async def _respond(self, instance: Instance, exchange: Exchange, reply: Reply) -> None:
        invocation = self._invocation
        head = await exchange.response()
        refusal = instance.exceeded(exchange)
        if refusal is not None:
            raise refusal
        wire = exchange.wire
        if wire is not None and wire.opened:
            await self._relay(instance, exchange, wire, reply)
            return
        for note in await reply.start(head.status, head.headers):
            exchange.warn(note)
        invocation.status = head.status
        complete = False
        while (chunk := await exchange.next_chunk()) is not None:
            complete = exchange.is_last_chunk
            invocation.bytes_out += len(chunk)
            await self._write(exchange, reply, chunk, more=not complete)
            exchange.crowd(reply.crowded)
            if invocation.bytes_out >= PASS_ON_FROM and not (complete or exchange.passes_on):
                self._pass_on(exchange, reply)
        if not complete:
            await self._write(exchange, reply, b"", more=False)

    def _pass_on(self, exchange: Exchange, reply: Reply) -> None:
        """Have what need not wait for the client written as it comes, without this task."""
        invocation = self._invocation

        def write(pieces: list[memoryview], size: int) -> bool:
            taken = reply.write_now(pieces, size)
            if taken:
                invocation.bytes_out += size
                exchange.crowd(reply.crowded)
            return taken

        exchange.pass_on(write)

    async def _write(self, exchange: Exchange, reply: Reply, chunk: bytes, *, more: bool) -> None:
        """Wait for the client to take it, but no longer than the invocation may last."""
        exchange.writer = task = asyncio.current_task()
        try:
            await reply.write(chunk, more=more)
        except asyncio.CancelledError:
            if exchange.failure is None or task is None or task.uncancel():
                raise
            raise exchange.failure from None
        finally:
            exchange.writer = None

    async def _relay(
        self, instance: Instance, exchange: Exchange, wire: WireSocket, reply: Reply
    ) -> None:
        invocation, head = self._invocation, await exchange.response()
        try:
            client = await reply.upgrade(head.headers, self._route.limits.message_kb * 1024)
        except Refusal as refusal:
            wire.close(close_for(refusal))
            raise
        if self._watch is not None:
            self._watch.cancel()
        relay = Relay(instance, exchange, wire, client)
        invocation.status = head.status
        invocation.websocket = relay.traffic
        self._leases.open_socket(self._route, instance, relay)
        try:
            await relay.run()
        finally:
            self._leases.close_socket(self._route, instance, relay)
            invocation.bytes_in, invocation.bytes_out = relay.bytes_in, relay.bytes_out
        if relay.lost:
            invocation.outcome, invocation.fault = Outcome.CANCELED, "client"

    # Request body

    async def _upload(self, exchange: Exchange, request: Request) -> None:
        limit = self._route.limits.body_mb * MIB
        receive = request.receive
        if receive is None:
            return
        try:
            more = True
            while more:
                chunk, more = await receive()
                self._invocation.bytes_in += len(chunk)
                if max(self._invocation.bytes_in, request.announced) > limit:
                    raise BodyTooLarge(f"The plan allows request bodies up to {limit // MIB} MB.")
                if chunk or not more:
                    await self._send(exchange, chunk, end=not more)
                if exchange.done:
                    return
        except ClientDisconnected as error:
            exchange.fail(error)
        except Refusal as refusal:
            exchange.fail(refusal)
            exchange.cancel()

    async def _send(self, exchange: Exchange, data: bytes, *, end: bool) -> None:
        if not data:
            exchange.upload(b"", end=end)
            return
        view = memoryview(data)
        for start in range(0, len(data), protocol.CHUNK):
            chunk = view[start : start + protocol.CHUNK]
            while exchange.send_credit < len(chunk) and not exchange.done:
                exchange.upload_waiter = asyncio.get_running_loop().create_future()
                await exchange.upload_waiter
            await exchange.room()
            last = start + protocol.CHUNK >= len(data)
            exchange.upload(chunk, end=end and last)

    # Clients that go away

    def watch(self, now_ns: int) -> bool:
        """Start watching for the client's end, if the request has been under way for a while.

        True once that needs no other look.
        """
        exchange, reply = self._exchange, self._reply
        if exchange is None or reply is None:
            return False
        if exchange.wire is not None and exchange.wire.opened:
            return True
        if self._upload_task is not None and not self._upload_task.done():
            # The upload reads the same channel and sees the client's end itself.
            return False
        if now_ns - exchange.started_ns > WATCH_SECONDS * 1e9:
            self._watch = asyncio.create_task(self._watch_client(exchange, reply))
        return self._watch is not None

    async def _watch_client(self, exchange: Exchange, reply: Reply) -> None:
        await reply.closed()
        if not exchange.ended:
            exchange.fail(ClientDisconnected())


class Leases:
    """Makes leases and watches the clients of long ones."""

    def __init__(self, pool: Pool, observer: Observer, *, idle_seconds: float) -> None:
        self.pool = pool
        self.active: set[Lease] = set()
        self._unwatched: set[Lease] = set()
        """Those of them whose clients may have to be watched."""
        self._begun = asyncio.Event()
        self._observer = observer
        self._idle_seconds = idle_seconds
        self._relays: dict[Relay, Route] = {}

    def lease(self, invocation: Invocation, route: Route) -> Lease:
        """The lease to enter with ``async with``."""
        return Lease(self, invocation, route)

    def begin(self, lease: Lease) -> None:
        """An answer is being waited for."""
        self.active.add(lease)
        if not self._unwatched:
            self._begun.set()
        self._unwatched.add(lease)

    def end(self, lease: Lease) -> None:
        """It is not any more."""
        self.active.discard(lease)
        self._unwatched.discard(lease)

    async def run_watches(self) -> None:
        """Look for long requests for ever; not at all while there is none to look for."""
        while True:
            if not self._unwatched:
                self._begun.clear()
                await self._begun.wait()
            await asyncio.sleep(WATCH_SECONDS)
            now_ns = time.monotonic_ns()
            self._unwatched = {lease for lease in self._unwatched if not lease.watch(now_ns)}

    # WebSockets

    def open_socket(self, route: Route, instance: Instance, relay: Relay) -> None:
        """One is open."""
        self._relays[relay] = route
        instance.socket_opened()
        self._observer.websocket_opened(route.key, route.tenant)

    def close_socket(self, route: Route, instance: Instance, relay: Relay) -> None:
        """One that was open is over."""
        del self._relays[relay]
        instance.socket_closed()
        self._count(relay, route)
        self._observer.websocket_closed(route.key, route.tenant)

    def _count(self, relay: Relay, route: Route) -> None:
        received, sent = relay.take_counts()
        if received or sent:
            self._observer.websocket_messages(route.key, route.tenant, received, sent)

    async def run_sockets(self) -> None:
        """Look after open WebSockets for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for relay, route in list(self._relays.items()):
                relay.tick(self._idle_seconds)
                self._count(relay, route)
