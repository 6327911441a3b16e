"""How much memory the instances hold, and which have to leave when it is too much."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from gateway.pool.instance import Instance, State

LOOKS = 64
"""Instances whose memory is read in one look: each reading takes some 20 microseconds."""
DESCRIPTORS = 3
"""Of an instance: its wire, its log, its process."""
SHARE = 0.75
"""Of the machine's memory, where the operator names no budget."""


def default_bytes() -> int:
    """What instances may hold together where the operator says nothing."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * SHARE)


def as_many_as_fit(instances: int) -> int:
    """So many, but no more than have room in half of the files that the process may open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return instances
    return max(1, min(instances, hard // (2 * DESCRIPTORS)))


class MemoryBudget:
    """What the instances of a node may hold together."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes or default_bytes()
        self._held: dict[Instance, int] = {}
        """As last read, longest ago first."""
        self.exceeded = False
        """No more may be started."""

    def look(self, live: Iterable[Instance]) -> list[Instance]:
        """Read some of them again; the idle ones to end, least recently used first."""
        present = set(live)
        self._held = {i: held for i, held in self._held.items() if i in present}
        unread = [instance for instance in present if instance not in self._held]
        for instance in [*unread, *self._held][: max(LOOKS, len(unread))]:
            self._held.pop(instance, None)
            self._held[instance] = instance.sandbox.held_bytes()
        excess = sum(self._held.values()) - self._budget_bytes
        leaving = []
        for instance in sorted(filter(_is_idle, self._held), key=lambda i: i.idle_since):
            if excess <= 0:
                break
            excess -= self._held[instance]
            leaving.append(instance)
        self.exceeded = excess > 0
        return leaving


def _is_idle(instance: Instance) -> bool:
    return instance.state is State.SERVING and not instance.in_flight and not instance.reserved
