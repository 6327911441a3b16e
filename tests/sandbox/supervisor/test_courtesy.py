"""Who burns gives way, and only who burns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import SandboxSpec, Supervisor, SupervisorSettings
from sandbox.supervisor import cpuclock
from sandbox.supervisor.courtesy import MEMORY_NS, Courtesy
from sandbox.supervisor.cpuclock import (
    LONG_SLICE_NS,
    LOW_NICE,
    NICE,
    SHORT_SLICE_NS,
    CpuClock,
    first_slice_ns,
)
from tests.support.served import wait_until

MS = 1_000_000


class Process:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.delayed = 0

    def delayed_ns(self) -> int:
        return self.delayed

    def give_way(self, on: bool) -> None:
        self.asked.append(on)


def test_it_is_born_giving_way_until_it_has_answered_quickly() -> None:
    process = Process()
    courtesy = Courtesy(process)
    jailed, loaded = 4 * MS, 5 * MS
    courtesy.begin(0, jailed)
    courtesy.begin(10 * MS, loaded)
    assert process.asked == []
    courtesy.begin(20 * MS, loaded + 1 * MS)
    courtesy.begin(30 * MS, loaded + 2 * MS)
    assert process.asked == [False]


def test_one_that_takes_long_for_its_first_requests_goes_on_giving_way() -> None:
    process = Process()
    courtesy = Courtesy(process)
    for number in range(9):
        courtesy.begin(number * 10 * MS, number * 5 * MS)
    assert process.asked == []
    courtesy.begin(90 * MS, 41 * MS)
    assert process.asked == [False]


def test_one_that_is_never_without_requests_is_thought_quick_when_each_is_short() -> None:
    process = Process()
    courtesy = Courtesy(process)
    courtesy.begin(0, 4 * MS)
    courtesy.look(20 * MS, 5 * MS, 1 * MS)
    assert process.asked == []
    courtesy.begin(30 * MS, 5 * MS)
    courtesy.look(50 * MS, 15 * MS, 1 * MS)
    assert process.asked == [False]


def test_who_burns_beside_many_others_is_seen_at_the_second_look() -> None:
    process = Process()
    process.delayed = 1
    courtesy = Courtesy(process)
    courtesy.begin(0, 0)
    courtesy.look(20 * MS, 4 * MS, 4 * MS)
    assert process.asked == []
    process.delayed += 15 * MS
    courtesy.look(40 * MS, 8 * MS, 8 * MS)
    assert process.asked == [True]


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
    assert True not in process.asked


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority again")
def test_the_kernel_is_told_and_the_clock_stays_exact() -> None:
    burn = "print('up', flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdout=subprocess.PIPE, process_group=0
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            usual_ns = slice_ns(process.pid)
            clock = CpuClock(process.pid)
            for on, nice in ((True, LOW_NICE), (False, NICE)):
                clock.give_way(on)
                before = clock.read(exact=True)
                assert os.getpriority(os.PRIO_PROCESS, process.pid) in (nice, nice + 1)
                assert slice_ns(process.pid) in (None, LONG_SLICE_NS if on else usual_ns)
                # Others may have the cores now.
                wait_until(lambda: clock.read(exact=True) > before, 20)  # noqa: B023
        finally:
            process.kill()
    clock.give_way(True)


def slice_ns(pid: int) -> int | None:
    """The turn that a process asks for; None where the kernel does not tell or take one."""
    release = re.findall(r"\d+", os.uname().release)
    told = Path(f"/proc/{pid}/sched")
    if (int(release[0]), int(release[1])) < (6, 12) or not told.exists():
        return None
    found = re.search(r"^se\.slice\s*:\s*(\d+)$", told.read_text(), re.M)
    return int(found[1]) if found else None


def test_where_priorities_cannot_be_raised_again_the_turn_alone_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    burn = "print('up', flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdout=subprocess.PIPE, process_group=0
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            clock = CpuClock(process.pid)
            seen: list[int] = []
            for on in (True, False):
                clock.give_way(on)
                clock.read(exact=True)
                seen.append(slice_ns(process.pid) or 0)
            assert seen == [0, 0] or seen[0] >= LONG_SLICE_NS > seen[1]
        finally:
            process.kill()


@pytest.mark.isolation
@pytest.mark.anyio
async def test_an_instance_starts_behind_those_that_serve() -> None:
    supervisor = Supervisor(SupervisorSettings())
    await supervisor.start()
    try:
        sandbox = await supervisor.spawn(SandboxSpec())
        assert os.getpriority(os.PRIO_PROCESS, sandbox.pid) >= NICE
        assert slice_ns(sandbox.pid) in (None, first_slice_ns())
        sandbox.give_way(False)
        if first_slice_ns() == LONG_SLICE_NS:
            assert (slice_ns(sandbox.pid) or 0) < LONG_SLICE_NS
        sandbox.close()
    finally:
        await supervisor.close()


def test_turns_that_cannot_be_taken_back_are_short_from_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cpuclock, "_has_capability", lambda _: False)
    assert first_slice_ns() == SHORT_SLICE_NS
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert first_slice_ns() == LONG_SLICE_NS
