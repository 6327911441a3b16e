"""The instances of one script version, and which of them takes a request: no I/O."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, NamedTuple

from gateway.model.plan import Limits
from gateway.model.script import ScriptKey
from gateway.pool.instance import Instance, State

BUSY_NS = 5_000_000
"""An instance that has burnt this much CPU on what it has is not given more while others may be."""


class Part(NamedTuple):
    """Which process of how many this is, and so what part of a figure it has."""

    processes: int = 1
    place: int = 0

    def of(self, whole: int) -> int:
        """This process's part of so many; each has one at least."""
        each, left = divmod(whole, self.processes)
        return max(1, each + (self.place < left))


ALL: Final = Part()


class Group:
    """The instances of one script version."""

    __slots__ = (
        "backoff_until",
        "failures",
        "instances",
        "key",
        "last_error",
        "limits",
        "part",
        "starting",
        "tenant",
        "version_id",
        "waiters",
    )

    def __init__(self, key: ScriptKey, version_id: str, tenant: str, part: Part = ALL) -> None:
        self.key = key
        self.version_id = version_id
        self.tenant = tenant
        self.part = part
        """Of the instances that the plan allows."""
        self.limits: Limits | None = None
        """Those of the latest request."""
        self.instances: list[Instance] = []
        self.starting = 0
        self.waiters: deque[asyncio.Future[Instance]] = deque()
        self.failures = 0
        self.backoff_until = 0.0
        self.last_error: Exception | None = None

    def __repr__(self) -> str:
        return (
            f"<Group {self.key.name}@{self.version_id[:8]} instances={self.instances}"
            f" starting={self.starting} waiting={len(self.waiters)}>"
        )

    def choose(self, limits: Limits) -> Instance | None:
        """An instance that can take a request now: idle first, then the least loaded."""
        best = self.least_loaded()
        if best is None or best.taken == 0:
            return best
        if best.is_burning(BUSY_NS):
            if self.part.of(limits.instances) > len(self.instances) + self.starting:
                return None
        return best

    def choose_for_waiter(self) -> Instance | None:
        """The same for a request that waits already: not a busy one while another starts."""
        best = self.least_loaded()
        return best if best is None or best.taken == 0 or not self.starting else None

    def least_loaded(self) -> Instance | None:
        """The serving instance with the fewest requests that can take one more.

        None in which a limit has just been hit: it is about to be told so.
        """
        best: Instance | None = None
        least = 0
        for instance in self.instances:
            if instance.state is State.SERVING and instance.meter.tripped is None:
                # What it tells as ``taken``; asked of every one, for every request.
                taken = instance.in_flight + instance.reserved - instance.sockets
                if taken == 0:
                    return instance
                if taken < instance.capacity and (best is None or taken < least):
                    best, least = instance, taken
        return best

    @property
    def weight(self) -> int:
        """What its tenant's plan weighs when the node is full."""
        return self.limits.weight if self.limits is not None else 1

    def is_spent(self) -> bool:
        """Nothing is left of it worth remembering."""
        busy = self.instances or self.starting or self.waiters
        return not busy and self.backoff_until < time.monotonic()

    def may_grow(self) -> bool:
        """Another instance may be started."""
        limits = self.limits
        if limits is None:
            return False
        return len(self.instances) + self.starting < self.part.of(limits.instances)

    def is_serving(self) -> bool:
        """At least one instance takes requests, now or when it has finished others."""
        return any(instance.state is State.SERVING for instance in self.instances)

    def waiting(self) -> int:
        """Requests that wait for an instance."""
        return sum(not waiter.done() for waiter in self.waiters)

    def refuse(self, refusal: Exception) -> None:
        """Tell all who wait that there will be none."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(refusal)
