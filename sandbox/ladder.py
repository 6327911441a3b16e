"""The ladder of hosts: on which barriers untrusted code runs, and what each rung promises.

A higher rung keeps every promise of a lower one. Below the operator's minimum nothing runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FULL: Final = "full"
NAMESPACES: Final = "namespaces"
LANDLOCK: Final = "landlock"
NONE: Final = "none"

ORDER: Final = (NONE, LANDLOCK, NAMESPACES, FULL)
"""From the lowest to the highest."""
EVERY: Final = (LANDLOCK, NAMESPACES, FULL)
"""The rungs on which untrusted code runs at all."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One level of the sandbox, in the words that the operator reads."""

    level: str
    stands_on: str
    lost: str
    """What it does not promise that the one above does."""


RUNGS: Final = (
    Rung(FULL, "namespaces, Landlock and seccomp", ""),
    Rung(
        NAMESPACES,
        "namespaces and seccomp",
        "the second opinion on files, signals and abstract sockets",
    ),
    Rung(
        LANDLOCK,
        "Landlock and seccomp",
        "the second barrier before network, IPC and processes; /tmp and /app: tenants cannot write"
        " any file; whether a path or process exists, sizes, times and owners of files and the"
        " host's name can be asked; an ordinary user's instances share a user id and one number of"
        " threads",
    ),
    Rung(NONE, "nothing", "everything: untrusted code does not run"),
)


@dataclass(frozen=True, slots=True)
class Barrier:
    """One thing that stands, or does not, between tenant code and the host."""

    name: str
    available: bool
    levels: tuple[str, ...]
    """The rungs that cannot do without it."""
    detail: str
    """What was seen."""
    consequence: str
    """What follows when it is missing."""
    fix: str
    """What the operator does about it; empty when there is nothing to do."""

    @property
    def required(self) -> bool:
        """True: without it no untrusted code runs at any level."""
        return set(EVERY) <= set(self.levels)


def missing(barriers: Sequence[Barrier], level: str) -> list[Barrier]:
    """Return what a rung lacks on this host."""
    return [barrier for barrier in barriers if level in barrier.levels and not barrier.available]


def highest(barriers: Sequence[Barrier]) -> str:
    """Return the highest rung that these barriers make."""
    return next((level for level in reversed(EVERY) if not missing(barriers, level)), NONE)


def loses(level: str) -> str:
    """Return what a rung does not promise, in words."""
    return next(rung.lost for rung in RUNGS if rung.level == level)


def reaches(level: str, minimum: str) -> bool:
    """Whether a rung is as high as the operator asks for."""
    return ORDER.index(level) >= ORDER.index(minimum)
