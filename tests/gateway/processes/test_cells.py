"""The table that the processes of a node share: what one writes is seen by the others in time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.processes.cells import Cells, Kind, fence_of

ROUNDS = 20_000
CONTEND = """
import sys
from gateway.processes.cells import Cells, Kind, fence_of

descriptor, index, rounds, machine = sys.argv[1:]
cells = Cells(int(descriptor), processes=2, index=int(index))
cells._fence = fence_of(machine)
row = cells.row("tenant")
counted = Cells(int(descriptor), processes=2, index=0)
entered = 0
for _ in range(int(rounds)):
    cells.write(row, Kind.REQUESTS, 1)
    if cells.total(row, Kind.REQUESTS) == 1:
        # Nobody else is here, so nothing is lost of what is read, added to and written.
        counted.write(row, Kind.SOCKETS, counted.total(row, Kind.SOCKETS) + 1)
        entered += 1
    cells.write(row, Kind.REQUESTS, 0)
print(entered)
"""


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_two_never_both_see_nobody_else(machine: str) -> None:
    cells = Cells.create(2)
    try:
        command = [sys.executable, "-c", CONTEND, str(cells.descriptor)]
        running = [
            subprocess.Popen(
                [*command, str(index), str(ROUNDS), machine],
                stdout=subprocess.PIPE,
                pass_fds=[cells.descriptor],
                text=True,
            )
            for index in range(2)
        ]
        entered = [int(process.communicate(timeout=60)[0]) for process in running]
        row = cells.row("tenant")
        assert row is not None
        assert sum(entered) == cells.total(row, Kind.SOCKETS) > 0
    finally:
        cells.close()


def test_connections_of_all_are_those_of_who_takes_some() -> None:
    cells = Cells.create(3)
    other = Cells(os.dup(cells.descriptor), processes=3, index=1)
    try:
        # It takes none yet.
        assert cells.connections_of_all(5) == 0
        cells.connections(5)
        other.connections(7)
        assert cells.connections_of_all(6) == 13
        assert other.connections_of_all(7) == 13
        other.away()
        assert other.connections_of_all(8) == 6
    finally:
        other.close()
        cells.close()


def test_a_processor_that_lets_writes_wait_is_kept_from_it_by_the_kernel() -> None:
    assert fence_of("aarch64") is os.sched_yield
    assert fence_of("AMD64") is not os.sched_yield
