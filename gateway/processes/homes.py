"""Which of a node's processes serve a script that may have fewer instances than there are of them.

Such a script has as many homes as it may have instances, and one instance in each. They are its
first ones among the processes that live, in an order of its own (rendezvous hashing): when a
process goes or comes, only the scripts move that it is a home of. The order is nobody's to choose:
it depends on a number that is drawn anew with each node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from gateway.model.route import Route
from gateway.model.script import ScriptKey
from gateway.processes.cells import Cells

LOOK_SECONDS: Final = 0.05
"""How often each looks whether another came or went."""
MAX_KNOWN: Final = 8192
"""Scripts whose order is remembered."""


class Homes:
    """The homes of scripts, as one of the processes sees them."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._index = cells.index
        self._processes = cells.processes
        self._seed = cells.seed
        self._orders: dict[ScriptKey, list[int]] = {}

    def elsewhere(self, route: Route) -> int | None:
        """The process that a request of this route belongs to; None when it may be served here."""
        instances = route.least_instances or route.limits.instances
        if instances >= self._processes:
            return None
        homes = self._homes(route.key, instances)
        if self._index in homes:
            return None
        return min(homes, key=self._cells.connections_of)

    def is_home(self, key: ScriptKey, instances: int) -> bool:
        """Whether this process may have an instance of a script that may have so many in all."""
        return instances >= self._processes or self._index in self._homes(key, instances)

    async def watch(self, moved: Callable[[], None]) -> None:
        """Call ``moved`` whenever a process has come or gone, for ever."""
        known = self._cells.takers()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            takers = self._cells.takers()
            if takers != known:
                known = takers
                moved()

    def _homes(self, key: ScriptKey, instances: int) -> list[int]:
        takers = self._cells.takers()
        if not takers[self._index]:
            # It is about to end: what comes until then is served where it is.
            return [self._index]
        return [place for place in self._order(key) if takers[place]][: max(1, instances)]

    def _order(self, key: ScriptKey) -> list[int]:
        order = self._orders.get(key)
        if order is None:
            if len(self._orders) >= MAX_KNOWN:
                self._orders.clear()
            name = f"{key.namespace}\0{key.name}\0".encode()
            order = self._orders[key] = sorted(
                range(self._processes),
                key=lambda place: blake2b(b"%b%d" % (name, place), key=self._seed).digest(),
            )
        return order
