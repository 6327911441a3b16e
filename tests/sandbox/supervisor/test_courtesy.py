"""Who burns gives way, and only who burns."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox.supervisor.courtesy import MEMORY_NS, Courtesy
from sandbox.supervisor.cpuclock import LOW_NICE, NICE, CpuClock
from tests.support.served import wait_until

MS = 1_000_000


class Process:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def give_way(self, on: bool) -> None:
        self.asked.append(on)


def test_one_that_computes_for_long_gives_way_until_it_has_not_for_a_while() -> None:
    process = Process()
    courtesy = Courtesy(process)
    courtesy.begin(0, 0)
    courtesy.look(20 * MS, 19 * MS, 19 * MS)
    courtesy.look(40 * MS, 20 * MS, 20 * MS)
    assert process.asked == [True]
    courtesy.begin(50 * MS, 20 * MS)
    assert process.asked == [True]
    courtesy.begin(41 * MS + MEMORY_NS, 20 * MS)
    assert process.asked == [True, False]


def test_what_gives_way_and_burns_on_goes_on_giving_way() -> None:
    process = Process()
    courtesy = Courtesy(process)
    courtesy.begin(0, 0)
    courtesy.look(20 * MS, 20 * MS, 20 * MS)
    for number in range(200):
        begun = 30 * MS + number * 100 * MS
        courtesy.begin(begun, (20 + 4 * number) * MS)
        # Others have the core: it gets a twentieth.
        courtesy.look(begun + 80 * MS, (24 + 4 * number) * MS, 4 * MS)
    assert process.asked == [True]


@pytest.mark.parametrize(
    ("waited_ms", "used_ms", "stretch_ms"),
    [(20, 19, 2), (20, 2, 2), (20_000, 30, 30)],
    ids=["many short ones", "one short one", "a stream that sends now and then"],
)
def test_short_requests_and_slow_streams_do_not(
    waited_ms: int, used_ms: int, stretch_ms: int
) -> None:
    process = Process()
    courtesy = Courtesy(process)
    courtesy.begin(0, 0)
    courtesy.look(waited_ms * MS, used_ms * MS, stretch_ms * MS)
    assert process.asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority again")
def test_the_kernel_is_told_and_the_clock_stays_exact() -> None:
    burn = "print('up', flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdout=subprocess.PIPE, process_group=0
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            clock = CpuClock(process.pid)
            for on, nice in ((True, LOW_NICE), (False, NICE)):
                clock.give_way(on)
                before = clock.read(exact=True)
                assert os.getpriority(os.PRIO_PROCESS, process.pid) in (nice, nice + 1)
                # Others may have the cores now.
                wait_until(lambda: clock.read(exact=True) > before, 20)  # noqa: B023
        finally:
            process.kill()
    clock.give_way(True)
