"""The composition root: the only file that knows every room. Builds a node, runs it, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvicorn
import uvloop

from gateway.accounts.tokens import ensure_operator_token
from gateway.addresses import ControlAddresses
from gateway.admission.gate import Gate
from gateway.admission.shared import SharedGate
from gateway.admission.turnstile import Turnstile
from gateway.api.app import create_api
from gateway.api.services import Services
from gateway.bindings.hops import Hops
from gateway.bindings.outbound import Outbound
from gateway.bindings.own import OwnHostnames
from gateway.bindings.proofs import proofs_of
from gateway.catalog.rollback import Rollbacks
from gateway.changes import OwnChanges
from gateway.config import Config, Listen
from gateway.dispatch import Dispatcher
from gateway.dumps import leave_no_dump
from gateway.edge.asgi import Edge
from gateway.edge.connection import HttpConnection
from gateway.edge.cycle import with_refusals
from gateway.edge.forwarded import TrustedProxies
from gateway.edge.opener import with_openers
from gateway.edge.proxied import ProxiedConnection
from gateway.edge.reply import send_error_page
from gateway.edge.server import Server, within_descriptors
from gateway.edge.turns import with_turns
from gateway.observer import Changes, Observer, Observers
from gateway.pool.group import Part
from gateway.pool.lease import Leases
from gateway.pool.memory import as_many_as_fit
from gateway.pool.pool import Pool
from gateway.pool.starter import Launcher, Starter
from gateway.processes.cells import Cells
from gateway.processes.follower import Link
from gateway.processes.frames import BadFrame
from gateway.processes.leader import Followers, announced, with_settling
from gateway.processes.lineage import Lineage
from gateway.processes.place import Place
from gateway.routing.ask import CertificateNames
from gateway.routing.resolver import Resolver
from gateway.sockets import Sockets, listen_on
from gateway.store.lock import NodeLock
from gateway.store.sealing import VARIABLE as KEYS_VARIABLE
from gateway.store.sealing import GivenKeys, KeyFile, KeySource
from gateway.store.sqlite import SqliteStore
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.lag import watch_lag
from gateway.telemetry.logs import configure_logging
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tail import TailHub
from gateway.triggers.schedules import Scheduler
from gateway.upkeep import begin_upkeep
from sandbox import MIB, Supervisor, SupervisorSettings, Watchdog

logger = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
MAX_INSTANCES = 2048
DRAIN_SECONDS = 30
RETIRE_SECONDS = 5.0
"""How long idle connections may be used once more when another node follows this one."""


class Started(msgspec.Struct, frozen=True):
    """What there is to say once a node listens."""

    tenant_port: int
    api_port: int
    operator_token: str | None
    """Set on the first start only: it is not stored."""
    level: str
    insecure: bool
    missing_packages: tuple[str, ...]


class Rooms(NamedTuple):
    """What serves tenants in a process."""

    edge: Edge
    dispatcher: Dispatcher
    resolver: Resolver
    pool: Pool
    starter: Starter


class Node:
    """One gateway process with everything it needs; the leader, where several make up a node.

    ``cells``: where the processes of a node count together; given to a follower by its leader.
    """

    def __init__(self, config: Config, cells: Cells | None = None) -> None:
        self.config = config
        self.cells = cells
        self.followers: Followers | None = None
        self.data_dir = Path(config.data_dir)
        self.metrics = Metrics(insecure=config.insecure_no_sandbox)
        self.tail = TailHub()
        self.rollbacks = Rollbacks(config.rollback)
        self.scheduler: Scheduler | None = None
        self._servers: list[Server] = []
        self.supervisor = Supervisor(
            SupervisorSettings(
                packages=config.runtime.packages,
                minimum_level=config.sandbox.minimum_level,
                cgroups=config.sandbox.cgroups,
                rotation_seconds=config.sandbox.zygote_rotation_seconds,
                spares=config.sandbox.spares,
                insecure=config.insecure_no_sandbox,
            )
        )

    @contextlib.asynccontextmanager
    async def running(
        self,
        environment: dict[str, str],
        sockets: Sockets | None = None,
        *,
        lineage: Lineage | None = None,
    ) -> AsyncIterator[Started]:
        """Build the rooms in order, listen, and take everything down in reverse on the way out.

        Listens on ``sockets``; where there are none, on the addresses of the configuration. Nodes
        of one manager may share a data directory while one follows the other.
        The zygote starts before any secret is read, so that none can be in its memory.
        """
        async with contextlib.AsyncExitStack() as stack:
            if sockets is not None:
                self._lead(stack, sockets, lineage)
            await self.supervisor.start()
            stack.push_async_callback(self.supervisor.close)
            self.metrics.level = self.supervisor.level
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = lineage.owner if lineage is not None else ""
            stack.callback(NodeLock.take(self.data_dir, owner).release)
            store = SqliteStore(self.data_dir / "waypost.db", self._keys(environment))
            await store.open()
            stack.push_async_callback(store.close)
            token = await ensure_operator_token(store, environment.get("WAYPOST_OPERATOR_TOKEN"))
            if sockets is None:
                sockets = Sockets(listen_on(self.config.listen), listen_on(self.config.api))
                self._lead(stack, sockets, lineage)
            tenants, api = sockets.tenants, sockets.api
            rooms = await self._rooms(stack, store, [self.tail, *self._judges(stack)])
            changes: Changes = OwnChanges(rooms.resolver, rooms.pool, self.metrics, self.tail)
            if self.followers is not None:
                changes = announced(changes, self.followers)
                await self.followers.open()
            services = self._services(stack, store, rooms, changes)
            await self._serve(stack, self._control(services, rooms), api, drain_seconds=2)
            # Streams that never end by themselves would hold up the drain.
            stack.callback(self.tail.close)
            await self._serve(stack, rooms.edge, tenants, drain_seconds=DRAIN_SECONDS)
            if self.followers is not None:
                # They drain at the same time as this process.
                stack.callback(self.followers.end)
            if self.scheduler is not None:
                self.scheduler.start()
                stack.callback(self.scheduler.retire)
            yield Started(
                tenant_port=tenants.getsockname()[1],
                api_port=api.getsockname()[1],
                operator_token=token,
                level=self.supervisor.level,
                insecure=self.supervisor.insecure,
                missing_packages=self.supervisor.missing_packages,
            )

    @contextlib.asynccontextmanager
    async def following(
        self, environment: dict[str, str], tenants: socket.socket, link: Link
    ) -> AsyncIterator[None]:
        """The same without the control API and what goes with it, as ``link``'s leader says."""
        async with contextlib.AsyncExitStack() as stack:
            await self.supervisor.start()
            stack.push_async_callback(self.supervisor.close)
            self.metrics.level = self.supervisor.level
            await link.opened()
            store = SqliteStore(self.data_dir / "waypost.db", self._keys(environment))
            await store.open()
            stack.push_async_callback(store.close)
            if self.config.rollback.error_percent:
                link.watch_failures()
            rooms = await self._rooms(stack, store, [link])
            changes = OwnChanges(rooms.resolver, rooms.pool, self.metrics, self.tail)
            await link.ready(changes, self.metrics)
            following = asyncio.create_task(link.follow(changes, self.metrics))
            following.add_done_callback(link.leaderless)
            stack.callback(following.cancel)
            await self._serve(stack, rooms.edge, tenants, drain_seconds=DRAIN_SECONDS)
            link.serving()
            yield

    def _lead(
        self, stack: contextlib.AsyncExitStack, sockets: Sockets, lineage: Lineage | None
    ) -> None:
        """Start the other processes, where there are to be some."""
        self.config = with_ports(self.config, sockets.tenants, sockets.api)
        if self.config.server.processes == 1 or lineage is None:
            return
        tenants = sockets.tenants
        self.cells = Cells.create(self.config.server.processes)
        stack.callback(self.cells.close)
        self.followers = Followers(
            self.config, self.cells, tenants, self.tail, self.rollbacks, lineage
        )
        stack.push_async_callback(self.followers.close)
        self.followers.start()

    async def _rooms(
        self,
        stack: contextlib.AsyncExitStack,
        store: SqliteStore,
        told: Sequence[Observer],
    ) -> Rooms:
        config, cells = self.config, self.cells
        observers = self._observers(stack, told)
        watchdog = Watchdog()
        stack.callback(watchdog.close)
        hops = await Hops.of(store)
        outbound = Outbound(config.egress, hops=hops)
        stack.push_async_callback(outbound.close)
        starter = Starter(config, self.supervisor, watchdog, outbound, store)
        starter.keep_spares([config.plan(None).limits, *config.plans.values()])
        pool = Pool(
            starter,
            store.get_version,
            observers,
            queue_seconds=config.queue_seconds,
            idle_seconds=IDLE_SECONDS,
            max_instances=as_many_as_fit(MAX_INSTANCES),
            memory_bytes=config.sandbox.memory_mb * MIB,
            part=Part(cells.processes, cells.index) if cells is not None else Part(),
        )
        stack.push_async_callback(pool.close)
        resolver = Resolver(store, config)
        leases = Leases(pool, observers, idle_seconds=config.websocket.idle_seconds)
        for work in (
            pool.run_sweeps(),
            leases.run_watches(),
            leases.run_sockets(),
            watch_lag(self.metrics.loop_lag),
            starter.compiler.run(),
        ):
            stack.callback(asyncio.create_task(work).cancel)
        gate = Gate(queue_seconds=config.queue_seconds)
        if cells is not None:
            gate = SharedGate(queue_seconds=config.queue_seconds, cells=cells)
        turnstile = Turnstile(queue_seconds=config.queue_seconds)
        dispatcher = Dispatcher(resolver, turnstile, gate, leases, send_error_page, observers)
        edge = Edge(dispatcher, config, hops)
        if config.egress.own_hostnames:
            outbound.own = OwnHostnames(
                edge,
                resolver.answers_inside,
                port=config.listen.port,
                seconds=config.egress.timeout_seconds,
            )
        return Rooms(edge, dispatcher, resolver, pool, starter)

    def _services(
        self,
        stack: contextlib.AsyncExitStack,
        store: SqliteStore,
        rooms: Rooms,
        changes: Changes,
    ) -> Services:
        """What the control API acts with, and what acts by itself: the leader's alone."""
        services = Services.build(
            config=self.config,
            store=store,
            changes=changes,
            launcher=Launcher(rooms.starter, rooms.pool.adopt, rooms.pool.changed),
            tail=self.tail,
            render_metrics=self._counted,
            readiness=self._readiness,
        )
        self.rollbacks.connect(services.versions, store)
        stack.push_async_callback(begin_upkeep(self.config, services, store).close)
        self.scheduler = scheduler = Scheduler(store, rooms.dispatcher)
        stack.push_async_callback(scheduler.close)
        services.schedules.caller = scheduler.call
        proofs = proofs_of(self.config.hostnames, self.config.egress)
        if proofs is not None:
            services.hostnames.proofs = proofs
            stack.callback(proofs.close)
        addresses = ControlAddresses(self.config.routing.trusted_proxies)
        return replace(
            services,
            address_of=addresses.client,
            origin_of=addresses.origin,
            may_have_certificate=CertificateNames(rooms.resolver).allows,
        )

    def _control(self, services: Services, rooms: Rooms) -> object:
        api: object = create_api(services)
        if self.followers is not None:
            api = with_settling(api, self.followers)
        return with_refusals(with_openers(with_turns(api, rooms.dispatcher.enter_as)))

    async def _counted(self) -> bytes:
        """All metrics. Thousands of series take long to write down: requests go on meanwhile."""
        if self.followers is not None:
            return await self.followers.counted(self.metrics)
        return await asyncio.to_thread(self.metrics.render)

    def _judges(self, stack: contextlib.AsyncExitStack) -> list[Observer]:
        if not self.config.rollback.error_percent:
            return []
        stack.push_async_callback(self.rollbacks.close)
        return [self.rollbacks]

    def _observers(self, stack: contextlib.AsyncExitStack, told: Sequence[Observer]) -> Observers:
        observers: list[Observer] = [self.metrics, *told]
        path = self.config.access_log.path
        if path:
            to_stdout = path == "-"
            log = AccessLog.to_stdout() if to_stdout else AccessLog.to_file(self.data_dir / path)
            stack.callback(log.close)
            observers.append(log)
        return Observers(observers)

    async def _serve(
        self,
        stack: contextlib.AsyncExitStack,
        app: object,
        sock: socket.socket,
        *,
        drain_seconds: int,
    ) -> None:
        bounds = within_descriptors(self.config.http)
        shared = self.cells if isinstance(app, Edge) else None
        if shared is not None:
            most = -(-bounds.connections // shared.processes)
            bounds = msgspec.structs.replace(bounds, connections=most)
        kind: Callable[..., HttpConnection] = HttpConnection
        if bounds.proxy_protocol and isinstance(app, Edge):
            proxies = TrustedProxies(self.config.routing.trusted_proxies)
            kind = partial(ProxiedConnection, proxies=proxies)
        server = Server(
            uvicorn.Config(
                app,  # type: ignore[arg-type]
                http=partial(
                    kind,
                    bounds=bounds,
                    ping_seconds=self.config.websocket.ping_seconds,
                    express=app if isinstance(app, Edge) else None,
                ),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=drain_seconds,
            ),
            shared,
        )
        self._servers.append(server)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await server.up.wait()

        async def stop() -> None:
            server.should_exit = True
            await task

        stack.push_async_callback(stop)

    async def retire(self) -> None:
        """Leave the sockets to the node that follows, and let clients go over to it in peace."""
        # Who listens to the tail is to hear the next node.
        self.tail.close()
        if self.followers is not None:
            self.followers.retire()
        if self.scheduler is not None:
            self.scheduler.retire()
        await asyncio.gather(*(server.retire(RETIRE_SECONDS) for server in self._servers))

    def _keys(self, environment: dict[str, str]) -> KeySource:
        given = environment.get(KEYS_VARIABLE, "").strip()
        return GivenKeys(given) if given else KeyFile(self.data_dir / self.config.secrets.key_file)

    def _readiness(self) -> tuple[bool, dict[str, object]]:
        alive = self.supervisor.alive
        return alive, {
            "sandbox": self.supervisor.level,
            "cgroups": self.supervisor.cgroups,
            "zygote": "up" if alive else "down",
            "processes": 1 + (self.followers.serving if self.followers is not None else 0),
        }


def with_ports(config: Config, tenants: socket.socket, api: socket.socket) -> Config:
    """The configuration with the ports that were really given, where it asks for any (0)."""
    return msgspec.structs.replace(
        config,
        listen=Listen(host=config.listen.host, port=tenants.getsockname()[1]),
        api=Listen(host=config.api.host, port=api.getsockname()[1]),
    )


def settle_heap() -> None:
    """Take what start-up made out of the collector's sight, and let it look less often: requests
    leave few cycles behind, and each full look at a large heap holds up every one of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def run(
    config: Config, *, sockets: Sockets, announce: Callable[[Started], None], lineage: Lineage
) -> int:
    """Run a node until SIGTERM or SIGINT, or until SIGUSR2 says that another follows it.

    Returns 0 when it ended in order. Raises ConfigError, and sandbox.HostUnfit when this host
    cannot hold untrusted code.
    """
    leave_no_dump()
    environment = dict(os.environ)
    configure_logging(json=not sys.stderr.isatty())
    # What uvicorn would say of a request is said by the corridor; a connection cut on purpose is
    # not an error of its application.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def main() -> int:
        told: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        _listen_for_signals(told)
        node = Node(config)
        async with node.running(environment, sockets, lineage=lineage) as started:
            settle_heap()
            announce(started)
            if await told is signal.SIGUSR2:
                logger.info("retiring")
                await node.retire()
            logger.info("draining")
        return 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def follow(place: Place) -> int:
    """Serve beside a leader until it says otherwise. Returns 0 when it ended in order.

    Raises what ``run`` raises.
    """
    leave_no_dump()
    environment = dict(os.environ)
    configure_logging(json=not sys.stderr.isatty())
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def main() -> int:
        told: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        _listen_for_signals(told)
        place.lineage.end_with_manager()
        link = await Link.open(place)
        try:
            node = Node((await link.setup()).config, place.cells)
            async with node.following(environment, place.tenants, link):
                settle_heap()
                if await told is signal.SIGUSR2:
                    await node.retire()
        except BadFrame as error:
            logger.error("the leader cannot be understood", extra={"error": str(error)})
            return 1
        return 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _listen_for_signals(told: asyncio.Future[signal.Signals]) -> None:
    def tell(number: signal.Signals) -> None:
        if not told.done():
            told.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        told.get_loop().add_signal_handler(number, tell, number)
