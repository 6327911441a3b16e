"""Which instance serves a request: plain state, one synchronous decision, I/O after it.

Instances are grouped by script version. A request prefers an idle instance; it shares one that
serves asynchronous code when that one is quick; otherwise another is started, up to the plan's
limit; otherwise the request waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable

from gateway.errors import (
    LimitExceeded,
    LoadShed,
    PlatformFailed,
    Refusal,
    StaleRoute,
    StartFailed,
    TenantFailed,
    WorkerBackedOff,
)
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, Version
from gateway.observer import Observer
from gateway.pool.group import ALL, Group, Part
from gateway.pool.instance import Instance, State
from gateway.pool.memory import MemoryBudget, default_bytes
from gateway.pool.shares import Shares
from gateway.pool.starter import Starter
from gateway.pool.turns import Turns
from gateway.pool.upkeep import Upkeep
from gateway.pool.verdict import start_refused
from sandbox import SandboxError

logger = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0
"""Between the starts of a script that keeps failing."""
PLATFORM_PAUSE_SECONDS = 1.0
"""The same where the platform failed: once it is well, nobody is to wait for long."""
STARTS_A_CORE = 2
"""Instances of one tenant that start at once, for each core."""


class Pool:
    """All instances of this node."""

    def __init__(  # noqa: PLR0913 — the node's own figures, each named
        self,
        starter: Starter,
        load_version: Callable[[str], Awaitable[Version | None]],
        observer: Observer,
        *,
        queue_seconds: float,
        idle_seconds: float,
        max_instances: int,
        memory_bytes: int = 0,
        part: Part = ALL,
    ) -> None:
        """``part``: which part of all these figures, and of plans' instances, is this process's."""
        self._starter = starter
        self._load_version = load_version
        self._observer = observer
        self._patience_seconds = queue_seconds + starter.wall_seconds
        self._part = part
        self._max_instances = part.of(max_instances)
        self._memory = MemoryBudget(part.of(memory_bytes or default_bytes()))
        self._groups: dict[str, Group] = {}
        self._by_key: dict[ScriptKey, set[str]] = {}
        self._starts: set[asyncio.Task[None]] = set()
        self._live: set[Instance] = set()
        self._starting = 0
        self._squeezed: list[Group] = []
        """Those whose requests wait for room on the node, longest first."""
        self._cores = len(os.sched_getaffinity(0))
        """More instances of one version are not started at once: they would only wait in turn."""
        self._turns = Turns(part.of(STARTS_A_CORE * self._cores), cost=part.processes)
        self._upkeep = Upkeep(self.instances, self._on_burnt, idle_seconds=idle_seconds)
        self.closed = False

    # The decision

    def try_lease(self, route: Route) -> Instance | None:
        """An instance at once, None when one must be waited for."""
        group = self._groups.get(route.version_id)
        return group.choose(route.limits) if group is not None else None

    def has_instance(self, route: Route) -> bool:
        """An instance of the route's version is up, if busy."""
        group = self._groups.get(route.version_id)
        return group is not None and bool(group.instances)

    async def lease(self, route: Route) -> Instance:
        """An instance, started or waited for.

        Raises LoadShed after the queue's deadline, TenantFailed when the code does not start or
        keeps dying, StaleRoute when the version is not stored any more.
        """
        while True:
            group = self._group(route.key, route.version_id, route.tenant)
            group.limits = route.limits
            if (refusal := self._refusal(group)) is not None:
                raise refusal.with_traceback(None)
            future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
            group.waiters.append(future)
            self._grow(group)
            try:
                instance = await asyncio.wait_for(future, self._patience_seconds)
            except TimeoutError:
                raise LoadShed("No instance of the worker became free in time.") from None
            except asyncio.CancelledError:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._unreserve(group, future.result())
                raise
            instance.reserved -= 1
            if instance.state is State.SERVING:
                return instance

    def _unreserve(self, group: Group, instance: Instance) -> None:
        instance.reserved -= 1
        self._serve_waiters(group)

    def changed(self, instance: Instance) -> None:
        """An instance's load or state changed: drop the dead, serve the waiting."""
        group = self._groups.get(instance.version.id)
        if instance.state is State.DEAD:
            self._forget(group, instance)
        if self._squeezed:
            self._make_room(instance)
        if group is not None and group.waiters:
            self._serve_waiters(group)
            if instance.state is State.DEAD:
                self._replace(group)

    def _replace(self, group: Group) -> None:
        """Start another for those who waited for one that died."""
        refusal = self._refusal(group)
        if refusal is None:
            self._grow(group)
        else:
            group.refuse(refusal)

    def _refusal(self, group: Group) -> Exception | None:
        """Why there is no point in waiting for an instance now."""
        if group.starting or group.is_serving():
            return None
        pause = group.backoff_until - time.monotonic()
        if group.last_error is not None and pause > 0:
            if not isinstance(group.last_error, TenantFailed | LimitExceeded):
                return group.last_error
            refusal = WorkerBackedOff("The worker's code did not start.", math.ceil(pause))
            refusal.record = group.last_error.record
            return refusal
        if seconds := self._turns.refuses(group.tenant):
            return WorkerBackedOff("The worker's processes keep dying.", seconds)
        return None

    def _serve_waiters(self, group: Group) -> None:
        waiters = group.waiters
        while waiters:
            if waiters[0].done():
                waiters.popleft()
                continue
            free = group.choose_for_waiter()
            if free is None:
                return
            free.reserved += 1
            waiters.popleft().set_result(free)

    def _grow(self, group: Group) -> None:
        wanted = group.starting < min(group.waiting(), self._cores) and group.may_grow()
        if wanted and not self.closed:
            if not self._has_room() and not (self._evict() and self._has_room()):
                self._squeeze(group)
                return
            group.starting += 1
            self._starting += 1
            task = asyncio.create_task(self._start(group))
            self._starts.add(task)
            task.add_done_callback(self._starts.discard)

    def _make_room(self, instance: Instance) -> None:
        """Have one that is idle or gone make room for whose requests wait for it."""
        if instance.state is State.DEAD:
            self._give_room()
        elif instance.state is State.SERVING and not (instance.taken or instance.sockets):
            shares = self._shares()
            group = self._most_squeezed(shares)
            owner = self._groups.get(instance.version.id)
            if group is None:
                return
            idle = owner is None or not owner.waiting()
            if idle or shares.owes(instance.version.tenant, group.tenant):
                # Its end is told by another call of ``changed``, in which the other is started.
                instance.stop("evicted for another script")

    def _give_room(self) -> None:
        while self._squeezed and self._has_room():
            group = self._most_squeezed(self._shares())
            if group is not None:
                self._squeezed.remove(group)
                self._grow(group)

    def _most_squeezed(self, shares: Shares) -> Group | None:
        """Whose requests wait for room: the tenant's that has least for its weight, the longest
        first."""
        self._squeezed = [group for group in self._squeezed if group.waiting()]
        return min(self._squeezed, key=lambda g: shares.with_one_more(g.tenant), default=None)

    def _has_room(self) -> bool:
        full = len(self._live) + self._starting >= self._max_instances
        return not full and not self._memory.exceeded

    def _squeeze(self, group: Group) -> None:
        """Note that the node is full, and have the tenant with most give up one it has too many."""
        if group in self._squeezed:
            return
        self._squeezed.append(group)
        shares = self._shares()
        serving = [i for i in self._live if i.state is State.SERVING]
        heaviest = max((i.version.tenant for i in serving), key=shares.with_one_less, default="")
        if shares.owes(heaviest, group.tenant):
            theirs = [i for i in serving if i.version.tenant == heaviest]
            min(theirs, key=lambda i: (i.sockets, i.taken)).drain()

    def _shares(self) -> Shares:
        return Shares(self._live, self._groups.values())

    # Starting

    async def _start(self, group: Group) -> None:
        outcome: Instance | Exception | None
        try:
            async with self._turns.turn(group.tenant):
                outcome = await self._try_start(group)
        except Exception as error:
            logger.exception("starting an instance failed", extra={"script": group.key.name})
            outcome = error
        finally:
            group.starting -= 1
            self._starting -= 1
        if isinstance(outcome, Instance):
            group.failures = 0
            group.last_error = None
            self._admit(group, outcome)
            if group.waiters:
                self._grow(group)
        elif outcome is not None:
            self._start_failed(group, outcome)
        self._give_room()

    async def _try_start(self, group: Group) -> Instance | Exception | None:
        if not group.waiting():
            return None
        if group.last_error is not None and group.backoff_until > time.monotonic():
            return group.last_error
        version = await self._load_version(group.version_id)
        if version is None or group.limits is None:
            return StaleRoute(group.version_id)
        try:
            return await self._starter.start(version, group.limits, self.changed)
        except StartFailed as error:
            self._turns.charge(group.tenant)
            return error
        except (SandboxError, Refusal) as error:
            return error

    def _start_failed(self, group: Group, error: Exception) -> None:
        """Tell those who wait, unless others still serve; a script that keeps failing is started
        less and less often."""
        refusal = _as_refusal(error, group)
        if refusal is not group.last_error and not isinstance(refusal, StaleRoute):
            group.failures += 1
            group.last_error = refusal
            group.backoff_until = time.monotonic() + pause_after(group.failures, refusal)
        if group.is_serving():
            self._serve_waiters(group)
        else:
            group.refuse(refusal)

    def _admit(self, group: Group, instance: Instance) -> None:
        if instance.state is State.DEAD:
            self._bury(group, instance)
            return
        if self.closed or self._groups.get(group.version_id) is not group:
            instance.stop("retired while it started")
            return
        group.instances.append(instance)
        self._live.add(instance)
        self._observer.instance_started(group.key, group.tenant, instance.started_ns)
        self._serve_waiters(group)

    def _bury(self, group: Group, instance: Instance) -> None:
        """One died between being ready and being taken in: it takes no room, here or on the node.

        Its end was told before anyone here knew of it, and will not be told again.
        """
        if instance.ended_badly:
            self._turns.charge(group.tenant)
        if group.waiters:
            self._replace(group)

    def adopt(self, instance: Instance, limits: Limits | None = None) -> None:
        """Take in an instance that was started to validate an upload, under these limits."""
        version = instance.version
        group = self._group(version.key, version.id, version.tenant)
        group.limits = group.limits or limits
        self._admit(group, instance)

    # Ending

    def retire(self, key: ScriptKey) -> None:
        """Stop giving requests to a script's present instances; they finish what they have."""
        for version_id in self._by_key.pop(key, set()):
            group = self._groups.pop(version_id, None)
            if group is None:
                continue
            group.refuse(StaleRoute(version_id))
            for instance in list(group.instances):
                instance.drain()

    def retire_tenant(self, slug: str) -> None:
        """Retire every script of a tenant: its limits may have changed."""
        for key in {group.key for group in self._groups.values() if group.tenant == slug}:
            self.retire(key)

    def retire_where(self, foreign: Callable[[ScriptKey, int], bool]) -> None:
        """Retire the scripts that are to have no instance here; ``foreign`` is told how many each
        may have in all."""
        known = [(group.key, group.limits) for group in self._groups.values()]
        for key, limits in known:
            if limits is not None and foreign(key, limits.instances):
                self.retire(key)

    def sweep(self) -> None:
        """End what was idle for long or is outdated, and forget what is over."""
        self._upkeep.sweep()
        for instance in self._memory.look(self._live):
            instance.stop("evicted for its memory")
        self._give_room()
        self._turns.forget_settled()
        for group in list(self._groups.values()):
            if group.is_spent():
                self._groups.pop(group.version_id, None)
                self._by_key.get(group.key, set()).discard(group.version_id)

    async def run_sweeps(self) -> None:
        """Look after the instances for ever."""
        await self._upkeep.run(self.sweep)

    def _on_burnt(self, instance: Instance, burnt_ns: int) -> None:
        self._turns.charge(instance.version.tenant, burnt_ns)

    async def close(self) -> None:
        """End every instance."""
        self.closed = True
        for task in list(self._starts):
            task.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        for instance in list(self._live):
            instance.stop("the node stopped")
        self._groups.clear()

    def instances(self) -> list[Instance]:
        """Every instance that is up, draining ones included."""
        return list(self._live)

    def _evict(self) -> bool:
        idle = [i for i in self._live if i.in_flight == 0 and not i.reserved]
        if not idle:
            return False
        min(idle, key=lambda i: i.idle_since).stop("evicted for another script")
        return True

    def _group(self, key: ScriptKey, version_id: str, tenant: str) -> Group:
        group = self._groups.get(version_id)
        if group is None:
            group = self._groups[version_id] = Group(key, version_id, tenant, self._part)
            self._by_key.setdefault(key, set()).add(version_id)
        return group

    def _forget(self, group: Group | None, instance: Instance) -> None:
        if instance in self._live:
            self._live.discard(instance)
            version = instance.version
            if instance.ended_badly:
                self._turns.charge(version.tenant, instance.extended_ns)
            self._observer.instance_stopped(version.key, version.tenant, instance.why_dead)
        if group is not None and instance in group.instances:
            group.instances.remove(instance)


def pause_after(failures: int, refusal: Exception) -> float:
    """Seconds until the next start after so many that failed in a row, the last with this."""
    own = isinstance(refusal, TenantFailed | LimitExceeded)
    longest = LONGEST_PAUSE_SECONDS if own else PLATFORM_PAUSE_SECONDS
    return min(longest, 0.1 * 2.0 ** min(failures, 9))


def _as_refusal(error: Exception, group: Group) -> Exception:
    if isinstance(error, StartFailed):
        return start_refused(error.failed, group.limits)
    if isinstance(error, Refusal | StaleRoute):
        return error
    name = group.key.name
    logger.error("no instance could be started", extra={"script": name, "error": str(error)})
    failed = PlatformFailed("The platform could not start an instance of the worker.")
    failed.retry_after_seconds = math.ceil(PLATFORM_PAUSE_SECONDS)
    return failed
