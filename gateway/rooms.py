"""The rooms through which a tenant's request goes, built and introduced to one another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.admission.gate import Gate
from gateway.admission.shared import SharedGate
from gateway.admission.turnstile import Turnstile
from gateway.bindings.hops import Hops
from gateway.bindings.outbound import Outbound
from gateway.bindings.own import OwnHostnames
from gateway.config import Config
from gateway.dispatch import Dispatcher
from gateway.edge.asgi import Edge
from gateway.edge.reply import send_error_page
from gateway.heap import Heap
from gateway.observer import Observer, Observers
from gateway.pool.group import Part
from gateway.pool.lease import Leases
from gateway.pool.memory import as_many_as_fit
from gateway.pool.pool import Pool
from gateway.pool.starter import Starter
from gateway.processes.cells import Cells
from gateway.routing.resolver import Resolver
from gateway.store.sqlite import SqliteStore
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.lag import watch_lag
from gateway.telemetry.metrics import Metrics
from sandbox import MIB, Supervisor, Watchdog

IDLE_SECONDS = 300.0
MAX_INSTANCES = 2048


class Rooms(NamedTuple):
    """What serves tenants in a process."""

    edge: Edge
    dispatcher: Dispatcher
    resolver: Resolver
    pool: Pool
    starter: Starter


async def furnish(
    stack: contextlib.AsyncExitStack,
    config: Config,
    supervisor: Supervisor,
    store: SqliteStore,
    metrics: Metrics,
    told: Sequence[Observer],
    cells: Cells | None,
) -> Rooms:
    """Build them; ``stack`` takes them down.

    ``told``: who hears of invocations beside the metrics and the access log. ``cells``: where the
    processes of a node count together.
    """
    observers = Observers([metrics, *told, *_access_log(stack, config)])
    hops = await Hops.of(store)
    outbound = Outbound(config.egress, hops=hops)
    stack.push_async_callback(outbound.close)
    starter = _starter(stack, config, supervisor, outbound, store)
    pool = _pool(stack, config, starter, store, observers, cells)
    resolver = Resolver(store, config)
    leases = Leases(pool, observers, idle_seconds=config.websocket.idle_seconds)
    for work in (
        pool.run_sweeps(),
        leases.run_watches(),
        leases.run_sockets(),
        watch_lag(metrics.loop_lag),
        Heap().run(),
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


def _access_log(stack: contextlib.AsyncExitStack, config: Config) -> list[Observer]:
    path = config.access_log.path
    if not path:
        return []
    to_stdout = path == "-"
    log = AccessLog.to_stdout() if to_stdout else AccessLog.to_file(Path(config.data_dir) / path)
    stack.callback(log.close)
    return [log]


def _starter(
    stack: contextlib.AsyncExitStack,
    config: Config,
    supervisor: Supervisor,
    outbound: Outbound,
    store: SqliteStore,
) -> Starter:
    watchdog = Watchdog()
    stack.callback(watchdog.close)
    starter = Starter(config, supervisor, watchdog, outbound, store)
    starter.keep_spares([config.plan(None).limits, *config.plans.values()])
    return starter


def _pool(
    stack: contextlib.AsyncExitStack,
    config: Config,
    starter: Starter,
    store: SqliteStore,
    observers: Observers,
    cells: Cells | None,
) -> Pool:
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
    return pool
