"""Who has how much of a full node, for what their plan weighs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.pool.group import Group
from gateway.pool.instance import Instance


class Shares:
    """How many instances each tenant has now, those that start included."""

    def __init__(self, live: Iterable[Instance], groups: Iterable[Group]) -> None:
        self._held = Counter(instance.version.tenant for instance in live)
        self._weights: dict[str, int] = {}
        for group in groups:
            tenant = group.tenant
            self._weights[tenant] = max(group.weight, self._weights.get(tenant, 1))
            if group.starting:
                self._held[tenant] += group.starting

    def with_one_more(self, tenant: str) -> float:
        """What the tenant would have, for its weight, if it got another; nothing weighs a first."""
        held = self._held[tenant]
        return (held + 1) / self._weights.get(tenant, 1) if held else 0.0

    def with_one_less(self, tenant: str) -> float:
        """What it would have if it gave one up."""
        return (self._held[tenant] - 1) / self._weights.get(tenant, 1)

    def owes(self, giver: str, taker: str) -> bool:
        """Whether one has so much that, with one less, it has no less than the other with one more.

        So nothing goes back and forth: the other way round it never is true afterwards.
        """
        enough = self._held[giver] > 1
        return enough and self.with_one_less(giver) >= self.with_one_more(taker)
