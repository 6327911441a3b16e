"""A real node that shows its rooms: what its pool has, and what its requests hold."""

from __future__ import annotations

from typing import Any

from gateway.app import Node
from gateway.pool.pool import Pool


class Observed(Node):
    """A node that shows its rooms."""

    @property
    def pool(self) -> Pool:
        assert self.rooms is not None
        return self.rooms.pool

    def forget(self) -> None:
        """Let the next request look everything up, and start its own instance."""
        assert self.rooms is not None
        self.rooms.resolver.everything_changed()
        for instance in self.pool.instances():
            self.pool.retire(instance.version.key)

    def held(self) -> dict[str, Any]:
        """All that requests hold of the node."""
        assert self.rooms is not None
        dispatcher: Any = self.rooms.dispatcher
        instances = self.pool.instances()
        return {
            "permits": dict(dispatcher._gate._tenants),
            "leases": set(dispatcher._leases.active),
            "in flight": [i for i in instances if i.in_flight],
            "reserved": [i for i in instances if i.reserved],
            "streams": [i for i in instances if i.channel.exchanges],
            "subrequests": [i for i in instances if i._subrequests._calls],
            "waiting": [
                g for g in self.pool._groups.values() if any(not w.done() for w in g.waiters)
            ],
        }
