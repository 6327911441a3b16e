"""Who holds the connections of a listener, and who gives one up when there are no more.

One address must not be able to keep everybody else out: the one with the most connections gives up
one that is idle to any address that has fewer.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, Protocol

from gateway.edge.listeners import OfListener
from gateway.model.neighbours import neighbourhood

LOOKED_AT: Final = 64
"""Connections of an address that are looked at, at most, to find one that is idle."""
STALE_SECONDS: Final = 0.05
"""How long the address with the most connections is taken to be the one that it was."""


class Member(Protocol):
    """A connection."""

    def give_way(self) -> bool:
        """Close, if nothing is under way on it; whether it did."""


class Crowd:
    """The connections of one listener, by the address that they come from."""

    def __init__(self) -> None:
        self._members: dict[str, dict[Member, None]] = {}
        self._largest = ""
        self._looked = 0.0

    def join(self, address: str, member: Member) -> str:
        """Count a connection; returns the name that it is counted under."""
        name = neighbourhood(address)
        self._members.setdefault(name, {})[member] = None
        return name

    def leave(self, name: str, member: Member) -> None:
        """Count a connection no more."""
        members = self._members.get(name)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[name]

    def make_room(self, name: str, now: float) -> bool:
        """Have an idle connection closed of whoever has the most; False when ``name`` has as many,
        or none was found. ``now`` is in seconds."""
        if now - self._looked > STALE_SECONDS or self._largest not in self._members:
            self._looked = now
            self._largest = max(self._members, key=lambda known: len(self._members[known]))
        members = self._members.get(self._largest, {})
        if len(members) <= len(self._members.get(name, {})):
            return False
        for member in list(islice(members, LOOKED_AT)):
            # Those that are busy are looked at last the next time.
            del members[member]
            if member.give_way():
                return True
            members[member] = None
        return False


crowd_of: Final = OfListener(Crowd)
"""The crowd of a listener."""
