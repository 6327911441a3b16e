"""A real node that shows its rooms: what its pool has, and what its requests hold."""

from __future__ import annotations

from typing import Any

from gateway.app import Node
from gateway.pool.pool import Pool


class Observed(Node):
    """A node that shows its rooms."""

    async def _rooms(self, *given: Any) -> Any:
        rooms = await super()._rooms(*given)
        self.edge = rooms[0]
        return rooms

    @property
    def pool(self) -> Pool:
        return self.edge._dispatcher._leases.pool  # type: ignore[attr-defined, no-any-return]

    def forget(self) -> None:
        """Let the next request look everything up, and start its own instance."""
        self.edge._dispatcher._resolver.everything_changed()  # type: ignore[attr-defined]
        for instance in self.pool.instances():
            self.pool.retire(instance.version.key)

    def held(self) -> dict[str, Any]:
        """All that requests hold of the node."""
        dispatcher = self.edge._dispatcher
        instances = self.pool.instances()
        return {
            "permits": dict(dispatcher._gate._tenants),  # type: ignore[attr-defined]
            "leases": set(dispatcher._leases.active),  # type: ignore[attr-defined]
            "in flight": [i for i in instances if i.in_flight],
            "reserved": [i for i in instances if i.reserved],
            "streams": [i for i in instances if i.channel.exchanges],
            "subrequests": [i for i in instances if i._subrequests._calls],
            "waiting": [
                g for g in self.pool._groups.values() if any(not w.done() for w in g.waiters)
            ],
        }
