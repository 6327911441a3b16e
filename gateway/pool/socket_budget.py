"""What an open WebSocket may spend: each message brings CPU time, and so does each second."""

from __future__ import annotations

import time

from gateway.pool.exchange import Exchange
from sandbox import Meter


class SocketBudget:
    """That of the WebSockets of one instance."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def set_deadline(self, exchange: Exchange, wall_ns: int | None) -> None:
        """Let an invocation last so long from now on; None: as long as its client stays."""
        if exchange.charge is not None:
            deadline_ns = None if wall_ns is None else time.monotonic_ns() + wall_ns
            self._meter.set_deadline(exchange.charge, deadline_ns)

    def fund(self, exchange: Exchange) -> None:
        """A message was put in: it brings the CPU time that a request would."""
        self._renew(exchange, exchange.route.limits.cpu_ms * 1_000_000)

    def on_taken(self, exchange: Exchange) -> None:
        """The tenant has taken a message: what the one before it left unspent is gone."""
        self._renew(exchange, 0)

    def is_spent(self, exchange: Exchange) -> bool:
        """Nothing is left of it."""
        charge = exchange.charge
        return charge is not None and self._meter.used_ns(charge) >= charge.budget_ns

    def _renew(self, exchange: Exchange, grant_ns: int) -> None:
        if exchange.charge is not None and exchange.wire is not None:
            budget_ns = exchange.route.limits.cpu_ms * 1_000_000
            most_ns = budget_ns * (1 + exchange.wire.untaken)
            self._meter.renew(exchange.charge, grant_ns, most_ns, now_ns=time.monotonic_ns())
