"""The composition root: a node, built in order, told of changes, taken down in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from gateway.accounts.tokens import ensure_operator_token
from gateway.addresses import ControlAddresses
from gateway.api.app import create_api
from gateway.api.services import Services
from gateway.bindings.proofs import proofs_of
from gateway.catalog.rollback import Rollbacks
from gateway.changes import OwnChanges
from gateway.config import Config, Listen
from gateway.edge.cycle import with_refusals
from gateway.edge.opener import with_openers
from gateway.edge.turns import with_turns
from gateway.listeners import Listeners
from gateway.observer import Changes, Observer
from gateway.pool.starter import Launcher
from gateway.processes.announce import announced, with_settling
from gateway.processes.cells import Cells
from gateway.processes.follower import Link
from gateway.processes.leader import Followers
from gateway.processes.lineage import Lineage
from gateway.processes.mailbox import Mailboxes
from gateway.rooms import Rooms, furnish
from gateway.routing.ask import CertificateNames
from gateway.sockets import Sockets, listen_on
from gateway.spread import Spread
from gateway.store.lock import NodeLock
from gateway.store.sealing import VARIABLE as KEYS_VARIABLE
from gateway.store.sealing import GivenKeys, KeyFile, KeySource
from gateway.store.sqlite import SqliteStore
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tail import TailHub
from gateway.triggers.schedules import Scheduler
from gateway.upkeep import begin_upkeep
from sandbox import Supervisor, SupervisorSettings


class Started(msgspec.Struct, frozen=True):
    """What there is to say once a node listens."""

    tenant_port: int
    api_port: int
    operator_token: str | None
    """Set on the first start only: it is not stored."""
    level: str
    insecure: bool
    missing_packages: tuple[str, ...]


class Node:
    """One gateway process with everything it needs; the leader, where several make up a node.

    ``cells``: where the processes of a node count together; ``boxes``: through which they hand
    sockets to one another; given to a follower by its leader.
    """

    def __init__(
        self, config: Config, cells: Cells | None = None, boxes: Mailboxes | None = None
    ) -> None:
        self.config = config
        self.cells = cells
        self.boxes = boxes
        self.spread: Spread | None = None
        self.followers: Followers | None = None
        self.data_dir = Path(config.data_dir)
        self.metrics = Metrics(insecure=config.insecure_no_sandbox)
        self.tail = TailHub()
        self.rollbacks = Rollbacks(config.rollback)
        self.scheduler: Scheduler | None = None
        self.rooms: Rooms | None = None
        """Once they are built."""
        self._listeners = Listeners()
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
            rooms = await self._furnish(stack, store, [self.tail, *self._judges(stack)])
            changes: Changes = OwnChanges(rooms.resolver, rooms.pool, self.metrics, self.tail)
            if self.followers is not None:
                changes = announced(changes, self.followers)
                await self.followers.open()
            services = self._services(stack, store, rooms, changes)
            control = self._control(services, rooms)
            await self._listeners.open_control(stack, self.config, control, api)
            # Streams that never end by themselves would hold up the drain.
            stack.callback(self.tail.close)
            await self._listeners.open_tenants(
                stack, self.config, rooms.edge, tenants, self.cells, self.spread
            )
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
            rooms = await self._furnish(stack, store, [link])
            changes = OwnChanges(rooms.resolver, rooms.pool, self.metrics, self.tail)
            await link.ready(changes, self.metrics)
            following = asyncio.create_task(link.follow(changes, self.metrics))
            following.add_done_callback(link.leaderless)
            stack.callback(following.cancel)
            await self._listeners.open_tenants(
                stack, self.config, rooms.edge, tenants, self.cells, self.spread
            )
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
        self.boxes = Mailboxes.create(self.config.server.processes)
        stack.callback(self.boxes.close)
        self.followers = Followers(
            self.config, self.cells, tenants, self.tail, self.rollbacks, lineage, self.boxes
        )
        stack.push_async_callback(self.followers.close)
        self.followers.start()

    async def _furnish(
        self, stack: contextlib.AsyncExitStack, store: SqliteStore, told: Sequence[Observer]
    ) -> Rooms:
        self.rooms = await furnish(
            stack, self.config, self.supervisor, store, self.metrics, told, self.cells
        )
        if self.cells is not None and self.boxes is not None:
            self.spread = Spread(self.rooms, self.cells, self.boxes, self.metrics)
        return self.rooms

    def _services(
        self,
        stack: contextlib.AsyncExitStack,
        store: SqliteStore,
        rooms: Rooms,
        changes: Changes,
    ) -> Services:
        """What the control API acts with, and what acts by itself: the leader's alone."""
        spread = self.spread
        adopt = spread.adopt if spread is not None else rooms.pool.adopt
        services = Services.build(
            config=self.config,
            store=store,
            changes=changes,
            launcher=Launcher(rooms.starter, adopt, rooms.pool.changed),
            tail=self.tail,
            render_metrics=self._counted,
            readiness=self._readiness,
        )
        self.rollbacks.connect(services.versions, store)
        stack.push_async_callback(begin_upkeep(self.config, services, store).close)
        self.scheduler = scheduler = Scheduler(store, spread or rooms.dispatcher)
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

    async def retire(self) -> None:
        """Leave the sockets to the node that follows, and let clients go over to it in peace."""
        # Who listens to the tail is to hear the next node.
        self.tail.close()
        if self.followers is not None:
            self.followers.retire()
        if self.scheduler is not None:
            self.scheduler.retire()
        await self._listeners.retire()

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
