"""Spare instances, with real zygotes and real jails: whole, given once, and replaced."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox import HostUnfit, Sandbox, SandboxSpec, SpawnError, Supervisor, SupervisorSettings
from sandbox.supervisor import verify
from sandbox.supervisor.spares import Spares

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

COUNT = 2
AT_FIRST = COUNT + 1
"""All of the first size, and one of the other."""
SMALL = SandboxSpec()
LARGE = SandboxSpec(memory_bytes=256 << 20)
ODD = SandboxSpec(memory_bytes=100 << 20)


@pytest.fixture
async def supervisor(anyio_backend: str) -> AsyncIterator[Supervisor]:
    running = Supervisor(SupervisorSettings(spares=COUNT))
    try:
        await running.start()
    except HostUnfit as error:
        pytest.skip(str(error))
    running.keep_spares([SMALL, LARGE])
    await running.spares_made()
    assert running.spares == AT_FIRST
    yield running
    await running.close()


def children(pid: int) -> list[int]:
    """Those of a process, without what ends while it is looked at."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def family(pid: int) -> list[int]:
    return [below for child in children(pid) for below in (child, *family(child))]


async def end(*sandboxes: Sandbox) -> None:
    for sandbox in sandboxes:
        sandbox.close()
        await sandbox.exited


async def test_a_spare_is_given_once_and_replaced(supervisor: Supervisor) -> None:
    before = set(family(os.getpid()))
    taken = [await supervisor.spawn(SMALL) for _ in range(COUNT)]
    assert {sandbox.pid for sandbox in taken} <= before
    assert len({sandbox.pid for sandbox in taken}) == COUNT
    await supervisor.spares_made()
    assert supervisor.spares == AT_FIRST
    later = await supervisor.spawn(SMALL)
    assert later.pid not in before
    await end(*taken, later)


async def test_it_is_as_closed_as_one_that_was_ordered(supervisor: Supervisor) -> None:
    own_uid = os.geteuid() == 0
    taken = [await supervisor.spawn(SMALL) for _ in range(2 * COUNT)]
    for sandbox in taken:
        verify.verify(sandbox.pid, own_uid=own_uid)
        assert (sandbox.group is not None) == (supervisor.cgroups != "off")
    if own_uid:
        ids = {verify.read_status(sandbox.pid)["Uid"] for sandbox in taken}
        assert len(ids) == len(taken)
    await end(*taken)


async def test_limits_are_those_of_the_size_asked_for(supervisor: Supervisor) -> None:
    (await supervisor.spawn(LARGE)).close()
    await supervisor.spares_made()
    assert supervisor.spares == 2 * COUNT
    small, large = await supervisor.spawn(SMALL), await supervisor.spawn(LARGE)
    assert (small.spec, large.spec) == (SMALL, LARGE)

    def address_space(sandbox: Sandbox) -> int:
        lines = Path(f"/proc/{sandbox.pid}/limits").read_text().splitlines()
        return next(int(line.split()[3]) for line in lines if line.startswith("Max address"))

    difference = address_space(large) - address_space(small)
    assert difference == LARGE.memory_bytes - SMALL.memory_bytes
    await end(small, large)


async def test_odd_sizes_are_served_and_not_kept(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(ODD)
    assert sandbox.spec == ODD
    assert supervisor.spares == AT_FIRST
    await end(sandbox)


async def test_one_that_died_is_not_given(supervisor: Supervisor) -> None:
    (keeper,) = children(os.getpid())
    (zygote,) = children(keeper)
    dead = children(zygote)
    watched = [os.pidfd_open(pid) for pid in dead]
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    for pidfd in watched:
        await asyncio.to_thread(select.select, [pidfd], [], [], 60)
        os.close(pidfd)
    # The zygote has seen their ends before it takes the next order.
    await end(await supervisor.spawn(ODD))
    sandbox = await supervisor.spawn(SMALL)
    assert sandbox.pid not in dead
    assert not sandbox.exited.done()
    await end(sandbox)


async def test_spares_go_with_their_zygote(supervisor: Supervisor) -> None:
    (old,) = children(os.getpid())
    pidfd = os.pidfd_open(old)
    await supervisor.rotate()
    readable, _, _ = await asyncio.to_thread(select.select, [pidfd], [], [], 60)
    os.close(pidfd)
    assert readable, "its spares keep the old zygote"
    await supervisor.spares_made()
    assert supervisor.spares == AT_FIRST
    sandbox = await supervisor.spawn(SMALL)
    assert not sandbox.outdated
    await end(sandbox)


async def test_when_the_zygote_dies_nobody_gets_a_dead_one(supervisor: Supervisor) -> None:
    (keeper,) = children(os.getpid())
    sandbox = await supervisor.spawn(SMALL)
    os.kill(keeper, signal.SIGKILL)
    await sandbox.exited
    sandbox.close()
    successor = await supervisor.spawn(SMALL)
    assert not successor.exited.done()
    await supervisor.spares_made()
    assert supervisor.spares == AT_FIRST
    await end(successor)


async def test_when_the_zygote_dies_others_are_made_before_anybody_asks(
    supervisor: Supervisor,
) -> None:
    (keeper,) = children(os.getpid())
    pidfd = os.pidfd_open(keeper)
    os.kill(keeper, signal.SIGKILL)
    await asyncio.to_thread(select.select, [pidfd], [], [], 60)
    os.close(pidfd)
    while not supervisor.alive or supervisor.spares < AT_FIRST:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_closing_while_they_are_made_leaves_nothing(anyio_backend: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    supervisor = Supervisor(SupervisorSettings(spares=50))
    await supervisor.start()
    supervisor.keep_spares([SMALL])
    # Ordered later, made before them: by then the first is under way.
    await end(await supervisor.spawn(ODD))
    await supervisor.close()
    assert family(os.getpid()) == []
    assert len(os.listdir("/proc/self/fd")) == before


async def test_what_cannot_be_made_is_tried_less_and_less_often(anyio_backend: str) -> None:
    loop = asyncio.get_running_loop()
    tried = []
    enough = asyncio.Event()

    async def refuse(size: SandboxSpec) -> Sandbox:
        tried.append(loop.time())
        if len(tried) == 4:
            enough.set()
        raise SpawnError("there is no room")

    spares = Spares(refuse, COUNT)
    spares.keep([SMALL])
    async with asyncio.timeout(60):
        await enough.wait()
    await spares.close()
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
    # A machine that stands still makes them longer, and never shorter.
    assert all(pause > 0.9 * least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)), (
        pauses
    )
