"""Time that the machine below takes away is charged to nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sandbox.jail import syscalls
from sandbox.outcome import Outcome
from sandbox.supervisor.meter import GRACE_NS, SPARED_NS, Meter
from sandbox.supervisor.stolen import PATIENCE_NS, StolenTime, cores_of, stolen_ticks
from sandbox.supervisor.watchdog import Watchdog

pytestmark = pytest.mark.anyio
MS = 1_000_000
BUDGET_NS = 10 * MS
LATER_NS = 60_000 * MS
"""More than passes in a test: who has used so much has had its core all the time."""


class Host:
    """What the machine below says that it took, of every core there may be."""

    def __init__(self, stat: Path) -> None:
        self.stat = stat
        self.say(100)

    def say(self, ticks: int) -> None:
        """Write it down as the kernel does."""
        lines = [f"cpu{core} 1 2 3 4 5 6 7 {ticks} 0 0" for core in range(os.cpu_count() or 1)]
        whole = self.stat.with_suffix(".new")
        whole.write_text("\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *lines, "intr 5 8", ""]))
        whole.replace(self.stat)


class Slept:
    """A real process, whose clock the test moves."""

    base_rss_bytes = 0

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.cpu = 0
        self.interrupts = 0
        self.killed = False

    def cpu_ns(self, *, exact: bool) -> int:
        return self.cpu

    def rss_bytes(self) -> int:
        return 0

    def interrupt(self) -> None:
        self.interrupts += 1

    def kill(self) -> None:
        self.killed = True

    def delayed_ns(self) -> int:
        return 0

    def give_way(self, on: bool) -> None:
        del on


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "stat")


@pytest.fixture
async def watchdog(host: Host) -> AsyncIterator[Watchdog]:
    made = Watchdog(StolenTime(host.stat))
    yield made
    made.close()


@pytest.fixture
def process() -> Slept:
    return Slept(os.getpid())


@pytest.fixture
def meter(watchdog: Watchdog, process: Slept) -> Meter:
    return Meter(process, watchdog, memory_bytes=1, on_kill=lambda: None)


def begin(meter: Meter, budget_ns: int = BUDGET_NS):  # type: ignore[no-untyped-def]
    return meter.begin(budget_ns, 60_000 * MS, lambda: None, now_ns=time.monotonic_ns())


def near(meter: Meter, process: Slept, cpu_ns: int) -> None:
    """The process nears its limit, and it has been noted what was stolen until then."""
    process.cpu = cpu_ns
    meter.check(time.monotonic_ns())
    before = meter._doubt._before
    assert before is not None
    before.result(timeout=20)


async def until(true: Callable[[], bool]) -> None:
    """Let the watchdog look."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - a file and a clock wake nobody
            await asyncio.sleep(0.001)


async def test_who_stood_still_is_not_told_that_it_took_too_long(
    meter: Meter, process: Slept, host: Host
) -> None:
    charge = begin(meter)
    near(meter, process, BUDGET_NS - MS)
    # The host takes a while, which the clock of the process shows.
    host.say(101)
    process.cpu = LATER_NS
    await until(lambda: meter._spared_until_ns > 0)
    process.cpu += SPARED_NS // 2
    meter.check(time.monotonic_ns())
    meter.end(charge)
    assert meter.tripped is None
    assert process.interrupts == 0


async def test_who_burns_while_nothing_is_stolen_is_told(meter: Meter, process: Slept) -> None:
    begin(meter)
    process.cpu = LATER_NS
    await until(lambda: process.killed)
    assert meter.killed_for is Outcome.EXCEEDED_CPU


async def test_who_burns_on_after_a_standstill_is_told(
    meter: Meter, process: Slept, host: Host
) -> None:
    begin(meter)
    near(meter, process, BUDGET_NS - MS)
    host.say(101)
    process.cpu = LATER_NS
    await until(lambda: meter._spared_until_ns > 0)
    process.cpu += SPARED_NS
    await until(lambda: process.interrupts > 0)
    assert not process.killed


async def test_who_shares_its_core_is_told_at_once(
    meter: Meter, process: Slept, host: Host
) -> None:
    begin(meter)
    near(meter, process, BUDGET_NS - MS)
    host.say(101)
    process.cpu = BUDGET_NS
    meter.check(time.monotonic_ns() + 2 * MS)
    assert process.interrupts == 1


async def test_a_standstill_long_before_the_limit_spares_nobody(
    meter: Meter, process: Slept, host: Host
) -> None:
    begin(meter, 100 * MS)
    process.cpu = 80 * MS
    meter.check(time.monotonic_ns())
    host.say(200)
    process.cpu = 100 * MS
    await until(lambda: process.interrupts > 0)


async def test_the_next_request_is_spared_nothing(meter: Meter, process: Slept, host: Host) -> None:
    charge = begin(meter)
    near(meter, process, BUDGET_NS - MS)
    host.say(200)
    process.cpu = LATER_NS
    await until(lambda: meter._spared_until_ns > 0)
    meter.end(charge)
    begin(meter)
    process.cpu += BUDGET_NS
    await until(lambda: process.interrupts > 0)


async def test_an_answer_that_comes_after_the_request_is_nobodys(
    meter: Meter, process: Slept, host: Host
) -> None:
    charge = begin(meter)
    process.cpu = LATER_NS
    meter.check(time.monotonic_ns())
    host.say(101)
    meter.end(charge)
    charge = begin(meter)
    process.cpu += 3 * MS
    await asyncio.sleep(0.05)
    assert meter.end(charge) == 3 * MS


async def test_a_core_that_does_not_come_back_is_not_waited_for_long(
    meter: Meter, process: Slept, watchdog: Watchdog
) -> None:
    waiting = threading.Event()
    for _ in range(4):
        watchdog.stolen._threads.submit(waiting.wait, 20)
    try:
        begin(meter)
        process.cpu = LATER_NS + GRACE_NS
        now_ns = time.monotonic_ns()
        meter.check(now_ns)
        assert not process.killed
        meter.check(now_ns + PATIENCE_NS)
        assert process.killed
        assert meter.killed_for is Outcome.EXCEEDED_CPU
    finally:
        waiting.set()


async def test_it_is_asked_on_the_core_of_the_process() -> None:
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "while True: pass"]
    burns = subprocess.Popen(command)  # noqa: ASYNC220 - for a moment
    try:
        os.sched_setaffinity(burns.pid, {cores[-1]})
        await until(lambda: cores_of(burns.pid) == {cores[-1]})
        stolen = StolenTime()
        await stolen.since(stolen.now(), burns.pid)
        assert stolen._threads.submit(os.sched_getaffinity, 0).result() == set(cores)
        stolen.close()
    finally:
        burns.kill()
        burns.wait()
    assert cores_of(burns.pid) == set()


def test_a_thread_runs_where_it_was_told_to() -> None:
    cores = sorted(os.sched_getaffinity(0))
    ran: list[set[int]] = []

    def run() -> None:
        for core in cores:
            syscalls.sched_setaffinity({core})
            ran.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran == [{core} for core in cores]


def test_the_kernel_says_what_was_stolen_of_each_core() -> None:
    assert set(stolen_ticks()) >= os.sched_getaffinity(0)
    assert stolen_ticks(Path("/nowhere")) == {}
