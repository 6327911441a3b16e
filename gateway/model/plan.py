"""Plans and the limits they give."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tenant's script may use. All are enforced outside the tenant's process."""

    cpu_ms: int = 10
    """CPU milliseconds per invocation, every thread counted, waitUntil included."""
    subrequests: int = 5
    """``fetch()`` calls per invocation."""
    memory_mb: int = 128
    """Memory of an instance on top of the shared runtime, MiB."""
    wall_ms: int = 30_000
    """Elapsed milliseconds per invocation."""
    concurrency: int = 10
    """Requests of one tenant in flight at once; more wait in the queue."""
    body_mb: int = 10
    """Longest request body, MiB."""
    instances: int = 4
    """Processes that may serve one script at once."""
    scratch_mb: int = 16
    """Size of the private /tmp of an instance, MiB."""

    websockets: int = 100
    """WebSockets of one tenant open at once."""
    message_kb: int = 1024
    """Longest WebSocket message, KiB."""

    schedules: int = 20
    """Schedules (cron triggers) of all scripts of one tenant together."""

    weight: int = 1
    """Shares of a full node, compared with other tenants."""

    def lowered_by(self, wanted: dict[str, int]) -> Limits:
        """Apply a script's own limits: each may lower the plan's, never raise it.

        ``wanted`` maps field names to values; unknown names are ignored.
        """
        lower = {
            name: min(getattr(self, name), max(0, value))
            for name, value in wanted.items()
            if name in self.__struct_fields__
        }
        return msgspec.structs.replace(self, **lower) if lower else self


class Plan(msgspec.Struct, frozen=True):
    """A named set of limits."""

    name: str
    limits: Limits
