"""The CPU clock of another process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sandbox.jail import syscalls
from sandbox.supervisor.cpuclock import CpuClock

BURN = "import sys\nsys.stdout.write('up\\n'); sys.stdout.flush()\nwhile True: pass"


@pytest.fixture
def burning() -> Iterator[int]:
    """A process that leads its group and never rests."""
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


READINGS = 6
TICK_NS = 1_000_000
"""The shortest there is; most kernels' are 4 ms."""


several_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="on one core nothing runs while it is looked at"
)


def rises_with_every_reading(clock: CpuClock) -> bool:
    """Whether some readings within a tick all differ; a stale clock moves once in it.

    They need both processes to run at that moment, which where others compute is not often so.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        began = time.monotonic_ns()
        readings = [clock.read(exact=True) for _ in range(READINGS)]
        within_a_tick = time.monotonic_ns() - began < TICK_NS
        assert readings == sorted(readings)
        if within_a_tick and len(set(readings)) == READINGS:
            return True
    return False


@several_cores
def test_it_moves_with_the_process(burning: int) -> None:
    assert rises_with_every_reading(CpuClock(burning))


def test_a_plain_read_never_is_ahead_of_an_exact_one(burning: int) -> None:
    clock = CpuClock(burning)
    for _ in range(200):
        assert clock.read(exact=False) <= clock.read(exact=True)


@pytest.mark.parametrize("exact", [False, True])
def test_a_process_that_is_gone_has_none(exact: bool) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""], process_group=0)
    gone.wait()
    with pytest.raises(ProcessLookupError):
        CpuClock(gone.pid).read(exact=exact)


def test_without_privilege_it_still_reads(burning: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(syscalls, "sched_setattr", refuse)
    clock = CpuClock(burning)
    first = clock.read(exact=True)
    deadline = time.monotonic() + 10
    while clock.read(exact=True) == first:
        assert time.monotonic() < deadline


@several_cores
def test_it_moves_with_the_process_when_nice_may_only_rise(
    burning: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.setpriority

    def only_up(which: int, who: int, priority: int) -> None:
        if priority < os.getpriority(which, who):
            raise PermissionError
        real(which, who, priority)

    monkeypatch.setattr(os, "setpriority", only_up)
    clock = CpuClock(burning)
    clock.read(exact=True)
    assert rises_with_every_reading(clock)


def test_the_slice_takes_over_from_nice(burning: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    toggled: list[int] = []
    real = syscalls.sched_setattr

    def record(thread: int, nice: int, slice_ns: int) -> None:
        toggled.append(slice_ns)
        real(thread, nice, slice_ns)

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(syscalls, "sched_setattr", record)
    clock = CpuClock(burning)
    clock.read(exact=True)
    clock.read(exact=True)
    assert len(set(toggled)) == 2
