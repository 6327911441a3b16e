"""An entry in the CPU account of an instance, and what the account needs of the instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


def closed() -> None:
    """What an entry that is closed calls."""


class Metered(Protocol):
    """What a meter needs of a sandbox."""

    @property
    def pid(self) -> int:
        """As this process numbers it."""

    @property
    def base_rss_bytes(self) -> int:
        """Resident memory that came with the shared runtime."""

    def cpu_ns(self, *, exact: bool) -> int:
        """CPU clock of the process. Raises ProcessLookupError when it is gone."""

    def rss_bytes(self) -> int:
        """Resident memory. Raises ProcessLookupError when the process is gone."""

    def interrupt(self) -> None:
        """Send the soft limit's signal."""

    def kill(self) -> None:
        """End the process."""

    def delayed_ns(self) -> int:
        """How long it has waited for a core so far."""

    def give_way(self, on: bool) -> None:
        """Let other processes go first, or stop doing so."""


class Charge:
    """One invocation's entry in the account."""

    __slots__ = (
        "budget_ns",
        "deadline_ns",
        "earlier_ns",
        "expired",
        "held_up_ns",
        "on_expired",
        "standing",
        "start_share_ns",
    )

    def __init__(
        self,
        budget_ns: int,
        deadline_ns: int,
        share_ns: int,
        on_expired: Callable[[], None],
        held_up_ns: int,
    ) -> None:
        self.budget_ns = budget_ns
        self.deadline_ns = deadline_ns
        """Monotonic time at which the invocation has taken too long."""
        self.start_share_ns = share_ns
        self.earlier_ns = 0
        """Used before its budget was last renewed."""
        self.held_up_ns = held_up_ns
        """How much longer it may still take for having had to give way."""
        self.on_expired = on_expired
        self.expired = False
        self.standing = False
        """It has no deadline, and most of the time nothing to do."""
