"""One OS process that serves one version: its state, from starting to dead."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial

import msgspec

from gateway.errors import NeverSent, PlatformFailed, Refusal
from gateway.model.http import Request
from gateway.model.route import Route
from gateway.model.script import Bytecode, Version
from gateway.pool.channel import Channel
from gateway.pool.exchange import Exchange
from gateway.pool.fairness import Share
from gateway.pool.socket import GOING_AWAY
from gateway.pool.socket_budget import SocketBudget
from gateway.pool.startup import Code, Startup
from gateway.pool.subrequests import Fetcher, WireSubrequests
from gateway.pool.verdict import cpu_exceeded, fail_with_process, of_exception, wall_time_exceeded
from sandbox import (
    ExitStatus,
    Meter,
    Outcome,
    ProtocolError,
    Sandbox,
    Watchdog,
    classify_exit,
    protocol,
)
from sandbox.payloads import Close, ExceptionRecord, Init, Ready, RequestHead, encode_struct
from sandbox.protocol import FrameType

_GOING_AWAY = Close(GOING_AWAY, "The worker is being replaced.")
EXIT_WAIT_SECONDS = 2.0
DYING_SECONDS = 1.0
"""A process that loads and has lost its wire gets as long to be gone, so that it can be told who
ended it: one that only closed the wire has to be killed."""
SHUTDOWN_CPU_NS = 100_000_000
SHUTDOWN_SECONDS = 1.0
"""What an instance gets for its own shutdown (ASGI lifespan) once it is drained."""


class State(Enum):
    """Where an instance is in its life."""

    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()
    DEAD = auto()


class Instance:
    """A jailed process and everything the gateway holds of it."""

    def __init__(
        self,
        sandbox: Sandbox,
        watchdog: Watchdog,
        fetcher: Fetcher,
        *,
        version: Version,
        memory_bytes: int,
        on_change: Callable[[Instance], None],
        share: Share,
    ) -> None:
        self.version = version
        self.sandbox = sandbox
        self.state = State.STARTING
        self.ready = Ready("worker", False, [])
        self.kind = "worker"
        self.capacity = 1
        self.in_flight = 0
        self.reserved = 0
        """Promised to requests that have not been put in yet."""
        self.sockets = 0
        """Open WebSockets, which take no request's place."""
        self.served = 0
        self.idle_since = time.monotonic()
        self.started_ns = 0
        self._changed_ns = 0
        self.why_dead = ""
        self._on_change = on_change
        self._startup = Startup()
        self.meter = Meter(
            sandbox, watchdog, memory_bytes=memory_bytes, on_kill=self._on_meter_kill
        )
        self.socket_budget = SocketBudget(self.meter)
        self.channel = Channel(
            on_ready=self._startup.on_loaded,
            on_broken=self._on_broken,
            on_exception=self._on_exception,
            on_taken=self.socket_budget.on_taken,
            on_extend=self._on_extend,
            cpu_ns=self._cpu_ns,
            share=share,
        )
        self._subrequests = WireSubrequests(self.channel, fetcher)
        self._end_task: asyncio.Task[None] | None = None
        self._retiring = False
        self._final_cpu_ns: int | None = None
        self._startup_left_ns = 0
        """CPU time that loading left, for what later is built once."""
        self.extended_ns = 0
        """What invocations took of that, unless the last one went well."""

    def __repr__(self) -> str:
        return (
            f"<Instance {self.version.key.name}@{self.version.id[:8]} pid={self.sandbox.pid}"
            f" {self.state.name.lower()} in_flight={self.in_flight}>"
        )

    def _cpu_ns(self) -> int:
        try:
            return self.sandbox.cpu_ns(exact=True)
        except ProcessLookupError:
            # What it left in the socket is little, and its end has another reason.
            return sys.maxsize

    # Starting

    async def load(
        self,
        init: Init,
        bytecode: Bytecode | None = None,
        *,
        cpu_ms: int,
        wall_ms: int,
        concurrency: int,
    ) -> Ready:
        """Send the code, with what it was compiled to, and wait until it is loaded.

        Raises StartFailed when the tenant's code cannot be loaded within its start-up limits,
        StartLost when the process was killed meanwhile, InstanceLost when its zygote ended.
        """
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.channel, sock=self.sandbox.detach_wire())
        self.channel.watch_log(self.sandbox.log_fd)
        code = Code(init, self.version.modules, bytecode)
        # Once the process has it, it would only be in memory once for each instance.
        self.version = msgspec.structs.replace(self.version, modules=())
        loaded, self._startup_left_ns = await self._startup.load(
            self.channel, self.meter, code, cpu_ms=cpu_ms, wall_ms=wall_ms
        )
        self.ready = loaded
        self.kind = loaded.kind
        self.capacity = concurrency if loaded.concurrent else 1
        self.channel.subrequests = self._subrequests
        if self.state is State.STARTING:
            # Its end may have come together with its being ready.
            self.state = State.SERVING
        self.idle_since = time.monotonic()
        return loaded

    # Serving

    @property
    def taken(self) -> int:
        """Requests in it, and those it is promised to."""
        return self.in_flight + self.reserved - self.sockets

    @property
    def ended_badly(self) -> bool:
        """Its end is its own code's doing: it crashed, or hit a limit."""
        if self.meter.tripped is not None:
            return True
        exited = self.sandbox.exited
        return exited.done() and not (self._retiring or exited.result().with_zygote)

    def is_burning(self, cpu_ns: int) -> bool:
        """One of its requests keeps the process busy: others would wait behind it."""
        if time.monotonic_ns() - self._changed_ns < cpu_ns:
            return False
        return self.meter.burning_ns() > cpu_ns

    def open(self, request: Request, route: Route, now_ns: int) -> Exchange:
        """Put a request in at ``now_ns`` (monotonic); its CPU and wall time count from here."""
        self.in_flight += 1
        self.served += 1
        self._changed_ns = now_ns
        exchange = self.channel.open(request, route)
        limits = route.limits
        exchange.started_ns = now_ns
        exchange.charge = self.meter.begin(
            limits.cpu_ms * 1_000_000,
            limits.wall_ms * 1_000_000,
            partial(self.expire, exchange),
            now_ns=now_ns,
        )
        exchange.meter = self.meter
        if self.in_flight == 1:
            self.channel.pace_from(self.meter.last_cpu_ns)
        head = RequestHead(
            request.method,
            request.scheme,
            request.authority,
            request.path,
            request.query,
            request.headers,
            request.client,
            route.mount,
            request.ray,
            limits.message_kb * 1024 if request.websocket else 0,
            (request.scheduled.cron, request.scheduled.time_ms) if request.scheduled else None,
        )
        flags = protocol.END if request.receive is None else 0
        self.channel.send(encode_struct(FrameType.REQUEST, exchange.stream, head, flags))
        return exchange

    def settle(self, exchange: Exchange) -> int:
        """Close the invocation's account; its CPU time, ns."""
        if exchange.charge is None:
            return 0
        final = self._final_cpu_ns if self.meter.killed_for is None else None
        return self.meter.end(exchange.charge, final_cpu_ns=final)

    def leave(self, exchange: Exchange) -> None:
        """Take a request out; recycles the instance when a limit was hit in it."""
        self.channel.forget(exchange)
        self._subrequests.end_of(exchange)
        self.in_flight -= 1
        self._changed_ns = time.monotonic_ns()
        if self.meter.tripped is None:
            self.extended_ns = 0
        if self.meter.tripped is not None and self.state is State.SERVING:
            self._take_no_more()
        if self.in_flight == 0:
            self.idle_since = time.monotonic()
            if self.state is State.DRAINING:
                self._retire()
        self._on_change(self)

    def expire(self, exchange: Exchange) -> None:
        """An invocation has used up its wall time: end it, and recycle the process."""
        late = wall_time_exceeded(exchange.route.limits)
        if exchange.ended:
            exchange.fail_afterwards(late)
        # Of a complete answer, too: a client that does not take it is not waited for.
        exchange.fail(late)
        self.abandon(exchange)

    def abandon(self, exchange: Exchange) -> None:
        """Stop waiting for an invocation that may still run; the process serves nothing new."""
        if exchange.done:
            return
        exchange.cancel(at_once=True)
        exchange.finish()
        if self.state is State.SERVING:
            self._take_no_more()

    def exceeded(self, exchange: Exchange) -> Refusal | None:
        """The refusal of an answer that came after the invocation's CPU budget was gone."""
        charge = exchange.charge
        if self.meter.tripped is None or charge is None:
            return None
        if self.in_flight > 1:
            # What several burnt is split evenly: the one that burnt it is told by its exception,
            # and the process takes no more requests.
            return None
        if self.meter.used_ns(charge) >= charge.budget_ns:
            return cpu_exceeded(exchange.route.limits)
        return None

    def _on_extend(self, exchange: Exchange) -> None:
        """An invocation goes on with what loading left, each time with twice as much.

        Not a word of why it asks is believed: an instance has its start-up budget once, whether it
        uses it before it is ready or after.
        """
        step_ns = max(exchange.route.limits.cpu_ms * 1_000_000, self.extended_ns)
        grant_ns = min(self._startup_left_ns, step_ns)
        if grant_ns and exchange.charge and self.meter.extend(exchange.charge, grant_ns):
            self._startup_left_ns -= grant_ns
            self.extended_ns += grant_ns

    # WebSockets

    def socket_opened(self) -> None:
        """A request has become a WebSocket; its place is free for another."""
        if self.ready.concurrent:
            self.sockets += 1
            self._on_change(self)

    def socket_closed(self) -> None:
        """One that was opened is about to leave."""
        if self.ready.concurrent:
            self.sockets -= 1

    def refill(self, exchange: Exchange) -> None:
        """A second has passed on an open WebSocket: it earns a budget for what it sends unasked."""
        if self.meter.tripped is None:
            self.socket_budget.fund(exchange)
            return
        if self.socket_budget.is_spent(exchange):
            # It burnt it little by little, never long enough to be told so in its own code.
            exchange.fail(cpu_exceeded(exchange.route.limits))
        if self.state is State.SERVING:
            self._take_no_more()

    def _on_exception(self, exchange: Exchange, record: ExceptionRecord) -> None:
        refusal = of_exception(exchange.route.limits, record, self.meter.tripped)
        if exchange.ended:
            exchange.fail_afterwards(refusal)
        elif exchange.failure is None:
            exchange.fail(refusal)

    # Ending

    def drain(self) -> None:
        """Accept nothing more; end when nothing is in flight."""
        if self.state in (State.STARTING, State.SERVING):
            self._take_no_more()
        if self.in_flight == 0 and self._startup.over:
            self._retire()

    def _take_no_more(self) -> None:
        self.state = State.DRAINING
        for exchange in self.channel.exchanges.values():
            exchange.dismiss(_GOING_AWAY)

    def _retire(self) -> None:
        """Let a healthy process shut itself down, metered; end any other at once."""
        if self.meter.tripped is not None or self.channel.closed or self.kind != "asgi":
            self.stop("drained")
            return
        if self._retiring:
            return
        self._retiring = True
        self.meter.begin(
            SHUTDOWN_CPU_NS,
            int(SHUTDOWN_SECONDS * 1e9),
            partial(self.stop, "drained"),
            now_ns=time.monotonic_ns(),
        )
        self.channel.send(protocol.encode(FrameType.DRAIN, 0))

    def stop(self, why: str) -> None:
        """End the process now. Idempotent."""
        if self.state is State.DEAD:
            return
        self.state = State.DEAD
        self.why_dead = why
        self.channel.close()
        self.sandbox.close()
        self._startup.on_end()
        for exchange in list(self.channel.exchanges.values()):
            exchange.fail(PlatformFailed("The platform stopped the worker."))
            exchange.finish()
        self._on_change(self)

    def _on_meter_kill(self) -> None:
        if self.state is State.SERVING:
            self.state = State.DRAINING

    def _on_broken(self, error: ProtocolError | None) -> None:
        """The wire broke: by an error of the peer, or because the process is gone."""
        if self.state is State.DEAD or self._end_task is not None:
            return
        if error is not None:
            self.sandbox.kill()
        self.state = State.DRAINING
        for exchange in self.channel.unsent():
            if exchange.request.receive is None:
                # What it would have been sent is all still here.
                exchange.fail(NeverSent(self.version.id))
                exchange.finish()
        self._end_task = asyncio.create_task(self._end(error))

    async def _end(self, error: ProtocolError | None) -> None:
        # Before it is killed here: afterwards all have been killed.
        loads = error is None and not self._startup.over
        status = await self._exit(DYING_SECONDS) if loads else None
        killed = status is not None and status.signal == signal.SIGKILL
        self.sandbox.kill()
        status = status or await self._exit(EXIT_WAIT_SECONDS)
        if status is None and self.sandbox.orphaned:
            status = ExitStatus(with_zygote=True)
        outcome = classify_exit(self.meter.killed_for or self.meter.tripped, status)
        words = status.describe() if status is not None else "is gone"
        self._final_cpu_ns = status.cpu_ns if status is not None else None
        self._startup.on_end(outcome, words, killed=killed and outcome is Outcome.EXCEPTION)
        for exchange in list(self.channel.exchanges.values()):
            fail_with_process(exchange, outcome, words, error)
        self.stop(words if error is None else f"protocol: {error}")

    async def _exit(self, seconds: float) -> ExitStatus | None:
        """How the process ended; None when it has not so soon."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.sandbox.exited), seconds)
        except TimeoutError:
            return None
