"""Numbers that the processes of one node share: a table in memory, no lock in a request's way.

Each process writes its own column only and reads those of all. Rows belong to tenants; a row is
given out once, under a file lock that the kernel lets go of when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from hashlib import blake2b
from typing import Final, Self

ROWS: Final = 1 << 18
"""Tenants that can be told apart; a power of two. The memory is taken as rows are used."""
MOST_PROCESSES: Final = 64
AWAY: Final = 0xFFFFFFFF
"""The connections of a process that takes none."""
_ORDERED: Final = frozenset({"x86_64", "amd64", "i386", "i686"})
_DIGEST: Final = 16
_SEED: Final = 16
_CELL: Final = 4
_STRETCH: Final = 4096
_UNUSED: Final = bytes(_STRETCH)
_TRIES: Final = 20
_TRY_SECONDS: Final = 0.001
_PROBES: Final = 64
"""Rows looked at for one tenant: with most of them given out, later ones are refused a row."""


class Kind(IntEnum):
    """What is counted of a tenant."""

    REQUESTS = 0
    SOCKETS = 1
    WAITING = 2


class Cells:
    """The table, as one of its processes sees it."""

    def __init__(self, descriptor: int, *, processes: int, index: int) -> None:
        self.processes = processes
        self.index = index
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _size(processes))
        view = memoryview(self._map)
        self._keys = view[: ROWS * _DIGEST]
        self._connections = view[ROWS * _DIGEST :][: MOST_PROCESSES * _CELL].cast("I")
        at = ROWS * _DIGEST + MOST_PROCESSES * _CELL
        self._takers = view[at:][:processes]
        self._seed = view[at + MOST_PROCESSES :][:_SEED]
        self._cells = view[_head() :].cast("I")
        self._column = ROWS * len(Kind)
        self._fence = fence_of(platform.machine())
        self._known: dict[str, int] = {}

    @classmethod
    def create(cls, processes: int) -> Self:
        """A new table of nothing, held by the first process."""
        descriptor = os.memfd_create("waypost-cells", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _size(processes))
        cells = cls(descriptor, processes=processes, index=0)
        for index in range(processes):
            cells._connections[index] = AWAY
        cells._seed[:] = secrets.token_bytes(_SEED)
        return cells

    def close(self) -> None:
        """Let go of the memory."""
        views = (self._keys, self._connections, self._takers, self._seed, self._cells)
        for view in views:
            view.release()
        self._map.close()
        os.close(self.descriptor)

    def clear(self, index: int) -> None:
        """A process is gone, and all that it held with it."""
        self._connections[index] = AWAY
        self._takers[index] = 0
        start = _head() + index * self._column * _CELL
        # Only what was touched has memory behind it, and a tenant's row is touched in each column.
        length = _STRETCH // _DIGEST * len(Kind) * _CELL
        for key in range(0, ROWS * _DIGEST, _STRETCH):
            if self._keys[key : key + _STRETCH] != _UNUSED:
                row = start + key // _DIGEST * len(Kind) * _CELL
                self._map[row : row + length] = bytes(length)

    # Tenants

    def row(self, tenant: str) -> int | None:
        """The tenant's row; None when there is none for it, for now or because all are taken."""
        row = self._known.get(tenant)
        if row is None:
            row = self._find(tenant)
            if row is not None:
                self._known[tenant] = row
        return row

    def _find(self, tenant: str) -> int | None:
        digest = blake2b(tenant.encode(), digest_size=_DIGEST).digest()
        first = int.from_bytes(digest[:4], "little")
        if not self._lock():
            return None
        try:
            for step in range(_PROBES):
                row = (first + step) % ROWS
                key = self._keys[row * _DIGEST : (row + 1) * _DIGEST]
                if key == digest:
                    return row
                if not any(key):
                    key[:] = digest
                    return row
            return None
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        """Hold the rows, unless a process that was stopped does: nobody waits for that one."""
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(_TRY_SECONDS)
            else:
                return True
        return False

    def write(self, row: int, kind: Kind, value: int) -> None:
        """Say how many this process has."""
        self._cells[self.index * self._column + row * len(Kind) + kind] = value

    def total(self, row: int, kind: Kind) -> int:
        """How many all processes have; what this one wrote before was seen by the others."""
        # A processor may look at others' cells before its own is out, unless it is kept from it.
        self._fence()
        cells, column = self._cells, self._column
        place = row * len(Kind) + kind
        return sum(cells[place + column * index] for index in range(self.processes))

    # Connections

    def connections(self, open_here: int) -> int:
        """Say how many are open here; the fewest of any other process that takes some."""
        counts = self._connections
        counts[self.index] = open_here
        return min(
            (counts[index] for index in range(self.processes) if index != self.index), default=AWAY
        )

    def connections_of_all(self, open_here: int) -> int:
        """How many all have that take some; as many as are open here, here."""
        if self._connections[self.index] != AWAY:
            self._connections[self.index] = open_here
        counts = self._connections[: self.processes]
        return sum(count for count in counts if count != AWAY)

    def connections_of(self, index: int) -> int:
        """How many a process has; very many when it takes none."""
        return self._connections[index]

    def away(self) -> None:
        """Take no more connections here."""
        self._connections[self.index] = AWAY

    # What is handed from one process to another

    @property
    def seed(self) -> bytes:
        """What nobody outside knows."""
        return bytes(self._seed)

    def takers(self) -> bytes:
        """For each process, whether it takes what others hand to it: 1 or 0."""
        return bytes(self._takers)

    def takes(self, index: int) -> bool:
        """Whether a process does."""
        return bool(self._takers[index])

    def take(self, *, willing: bool) -> None:
        """Say whether this one does."""
        self._takers[self.index] = willing


def fence_of(machine: str) -> Callable[[], object]:
    """What keeps a processor from looking at memory before what it wrote is out.

    On x86 whatever takes a lock does. Elsewhere a lock may let a write pass that came before it;
    the kernel's scheduler never does (Linux, ``smp_mb__after_spinlock`` in ``__schedule``).
    """
    if machine.lower() not in _ORDERED:
        return os.sched_yield
    lock = threading.Lock()

    def fence() -> None:
        with lock:
            pass

    return fence


def _head() -> int:
    return ROWS * _DIGEST + MOST_PROCESSES * _CELL + MOST_PROCESSES + _SEED


def _size(processes: int) -> int:
    return _head() + processes * ROWS * len(Kind) * _CELL
