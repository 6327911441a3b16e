"""Heads that are not complete: what they may take together, so that waiting for them stays cheap.

A head may be large, and it may take its time; not both on thousands of connections.
"""

from __future__ import annotations

from typing import Final, Protocol

from gateway.edge.listeners import OfListener

FREE: Final = 8 * 1024
"""Bytes of a head that are not counted: nearly all heads are smaller."""
MAX_OF_ONE: Final = 4 << 20
"""Bytes that the connections of one address may hold; that is 25 of the largest heads."""
MAX_OF_ALL: Final = 32 << 20
"""Bytes that those of a listener may."""


class Holder(Protocol):
    """A connection."""

    def head_is_too_much(self) -> None:
        """Refuse the head that comes, and give its bytes back."""


class Unfinished:
    """The heads of one listener, by the address that they come from."""

    def __init__(self) -> None:
        self._held: dict[str, dict[Holder, int]] = {}
        self._sums: dict[str, int] = {}
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes that are held."""
        return self._total

    def hold(self, name: str, holder: Holder, size: int) -> None:
        """So much of a head is there; whoever holds too much has one refused, maybe this one."""
        held = self._held.setdefault(name, {})
        self._add(name, size - held.get(holder, 0))
        held[holder] = size
        if self._sums[name] > MAX_OF_ONE:
            holder.head_is_too_much()
        elif self._total > MAX_OF_ALL:
            self._relieve()

    def release(self, name: str, holder: Holder) -> None:
        """A head is complete, or nobody's any more."""
        held = self._held.get(name, {})
        size = held.pop(holder, 0)
        if size:
            self._add(name, -size)
        if not held:
            self._held.pop(name, None)
            self._sums.pop(name, None)

    def _add(self, name: str, size: int) -> None:
        self._sums[name] = self._sums.get(name, 0) + size
        self._total += size

    def _relieve(self) -> None:
        """Have the largest head refused of the address that holds the most."""
        largest = max(self._sums, key=lambda name: self._sums[name])
        held = self._held[largest]
        max(held, key=lambda holder: held[holder]).head_is_too_much()


unfinished_of: Final = OfListener(Unfinished)
"""The heads of a listener."""
