"""The supervisor with real zygotes and real jails: births, deaths, and nothing left behind."""

from __future__ import annotations

import asyncio
import glob
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox import (
    HostUnfit,
    JailError,
    Sandbox,
    SandboxSpec,
    Supervisor,
    SupervisorDown,
    SupervisorSettings,
    examine_host,
    host_level,
)
from sandbox.supervisor import supervisor as supervisor_module
from sandbox.supervisor import verify as verify_module

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

SPAWNS = 800
"""`python -m benchmarks leaks` goes on for as long as you like."""


@pytest.fixture
async def supervisor(anyio_backend: str) -> AsyncIterator[Supervisor]:
    running = Supervisor(SupervisorSettings())
    try:
        await running.start()
    except HostUnfit as error:
        pytest.skip(str(error))
    yield running
    await running.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children(pid: int) -> list[int]:
    """Those of a process, without what ends while it is looked at."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [below for child in found for below in descendants(child)]


async def test_an_instance_is_born_jailed_and_dies_on_command(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    assert sandbox.pid in descendants(os.getpid())
    assert 0 < sandbox.base_rss_bytes <= sandbox.rss_bytes() + (1 << 20)
    sandbox.kill()
    status = await sandbox.exited
    assert (status.code, status.signal) == (None, signal.SIGKILL)
    assert status.cpu_ns > 0
    assert status.peak_rss_bytes > 0
    sandbox.kill()
    sandbox.interrupt()
    sandbox.close()
    sandbox.close()


async def test_a_reaped_process_has_no_clock(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    assert sandbox.cpu_ns(exact=False) > 0
    sandbox.close()
    await sandbox.exited
    for exact in (False, True):
        with pytest.raises(ProcessLookupError):
            sandbox.cpu_ns(exact=exact)
    with pytest.raises(ProcessLookupError):
        sandbox.rss_bytes()


async def test_closing_the_wire_ends_the_instance(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    sandbox.detach_wire().close()
    status = await sandbox.exited
    assert status.signal is None
    sandbox.close()


async def test_a_detached_wire_outlives_close(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    wire = sandbox.detach_wire()
    sandbox.close()
    await sandbox.exited
    assert await asyncio.get_running_loop().sock_recv(wire, 1) == b""
    wire.close()


async def test_many_spawns_at_once(supervisor: Supervisor) -> None:
    sandboxes = await asyncio.gather(*(supervisor.spawn(SandboxSpec()) for _ in range(40)))
    assert len({sandbox.pid for sandbox in sandboxes}) == 40
    for sandbox in sandboxes:
        sandbox.close()
    await asyncio.gather(*(sandbox.exited for sandbox in sandboxes))


async def test_many_spawns_leave_nothing(supervisor: Supervisor) -> None:
    async def spawn(times: int) -> None:
        for _ in range(times):
            sandbox = await supervisor.spawn(SandboxSpec())
            sandbox.close()
            await sandbox.exited

    def descriptors() -> list[int]:
        family = [os.getpid(), *descendants(os.getpid())]
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in family]

    await asyncio.gather(*(spawn(1) for _ in range(4)))
    before = descriptors()
    gateway_keeper_and_zygote = 3
    assert len(before) == gateway_keeper_and_zygote
    await asyncio.gather(*(spawn(SPAWNS // 4) for _ in range(4)))
    assert descriptors() == before


async def test_close_leaves_nothing(anyio_backend: str) -> None:
    before = open_descriptors()
    supervisor = Supervisor(SupervisorSettings())
    await supervisor.start()
    sandboxes = [await supervisor.spawn(SandboxSpec()) for _ in range(3)]
    await supervisor.close()
    for sandbox in sandboxes:
        await sandbox.exited
        sandbox.close()
    assert descendants(os.getpid()) == []
    assert open_descriptors() == before
    with pytest.raises(SupervisorDown):
        await supervisor.spawn(SandboxSpec())


async def test_a_failing_step_is_named_and_no_code_is_taken(supervisor: Supervisor) -> None:
    before = open_descriptors()
    with pytest.raises(JailError) as failure:
        await supervisor.spawn(SandboxSpec(scratch_bytes=1 << 63))
    assert failure.value.step == "rlimits"
    assert open_descriptors() == before
    (await supervisor.spawn(SandboxSpec())).close()


async def test_a_cancelled_spawn_leaves_nothing(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    before = open_descriptors()
    task = asyncio.ensure_future(supervisor.spawn(SandboxSpec()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Orders are taken one after the other: this one's end means that the other's has been seen.
    last = await supervisor.spawn(SandboxSpec())
    last.close()
    await last.exited
    assert open_descriptors() == before
    sandbox.close()


async def test_a_spawn_that_is_cancelled_as_it_arrives_leaves_nothing(
    supervisor: Supervisor,
) -> None:
    before = open_descriptors()
    task = asyncio.ensure_future(supervisor.spawn(SandboxSpec()))
    await asyncio.sleep(0)
    zygote = supervisor._zygote
    assert zygote is not None
    ((number, pending),) = zygote._pending.items()
    while number in zygote._pending:
        select.select([zygote._control], [], [])
        zygote._on_readable()
    sandbox = pending.sandbox.result()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sandbox.exited
    assert open_descriptors() == before


async def test_when_the_zygote_dies_all_die_and_another_takes_over(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    (keeper,) = children(os.getpid())
    (zygote,) = children(keeper)
    os.kill(zygote, signal.SIGKILL)
    status = await sandbox.exited
    assert status.signal == signal.SIGKILL
    assert status.with_zygote
    assert not supervisor.alive
    sandbox.close()
    successor = await supervisor.spawn(SandboxSpec())
    assert supervisor.alive
    successor.close()


async def test_who_asks_while_the_zygote_ends_gets_an_instance_of_the_next(
    supervisor: Supervisor,
) -> None:
    (keeper,) = children(os.getpid())
    (zygote,) = children(keeper)
    # Stopped, it takes no order: this one is under way when it ends.
    os.kill(zygote, signal.SIGSTOP)
    asked = asyncio.create_task(supervisor.spawn(SandboxSpec()))
    await asyncio.sleep(0)
    os.kill(zygote, signal.SIGKILL)
    sandbox = await asked
    assert not sandbox.exited.done()
    sandbox.close()


@pytest.mark.parametrize("step", ["_read_hello", "verify"])
async def test_one_that_somebody_kills_on_its_way_is_made_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    killed: list[int] = []
    place: Any = supervisor_module if step == "_read_hello" else verify_module
    take_step = getattr(place, step)

    def kill(pid: int) -> None:
        if not killed:
            killed.append(pid)
            pidfd = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            select.select([pidfd], [], [], 60)
            os.close(pidfd)

    async def read_hello(sandbox: Sandbox) -> None:
        kill(sandbox.pid)
        await take_step(sandbox)

    def verify(pid: int, **more: bool) -> None:
        kill(pid)
        take_step(pid, **more)

    monkeypatch.setattr(place, step, read_hello if step == "_read_hello" else verify)
    sandbox = await supervisor.spawn(SandboxSpec())
    assert killed
    assert sandbox.pid not in killed
    sandbox.close()


async def test_a_zygote_that_keeps_dying_is_not_started_for_ever(supervisor: Supervisor) -> None:
    async def spawn_and_kill_all() -> None:
        sandbox = await supervisor.spawn(SandboxSpec())
        os.kill(children(os.getpid())[0], signal.SIGKILL)
        await sandbox.exited
        sandbox.close()

    for _ in range(5):
        await spawn_and_kill_all()
    with pytest.raises(SupervisorDown, match="was started"):
        await spawn_and_kill_all()


async def test_an_interrupt_from_the_terminal_does_not_reach_it(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    groups = {os.getpgid(pid) for pid in descendants(os.getpid())}
    assert os.getpgid(0) not in groups
    assert {os.getsid(pid) for pid in descendants(os.getpid())} == {os.getsid(0)}
    sandbox.close()


async def test_missing_packages_are_told(anyio_backend: str) -> None:
    supervisor = Supervisor(SupervisorSettings(packages=("no-such-distribution-here",)))
    await supervisor.start()
    assert supervisor.missing_packages == ("no-such-distribution-here",)
    await supervisor.close()


async def test_without_barriers_everything_else_is_the_same(
    anyio_backend: str, tmp_path: Path
) -> None:
    settings = SupervisorSettings(insecure=True, work_dir=str(tmp_path))
    supervisor = Supervisor(settings)
    await supervisor.start()
    assert (supervisor.level, supervisor.insecure) == ("none", True)
    sandbox = await supervisor.spawn(SandboxSpec())
    assert len(glob.glob(f"{tmp_path}/*/*/app")) == 1
    sandbox.close()
    await sandbox.exited
    assert glob.glob(f"{tmp_path}/*/*/app") == []
    await supervisor.close()
    assert os.listdir(tmp_path) == []


async def test_the_level_is_what_the_host_offers(supervisor: Supervisor) -> None:
    assert supervisor.level == host_level(await asyncio.to_thread(examine_host))


def test_a_killed_gateway_leaves_no_process(tmp_path: Path) -> None:
    program = """
import asyncio
from sandbox import SandboxSpec, Supervisor, SupervisorSettings
async def main():
    supervisor = Supervisor(SupervisorSettings())
    await supervisor.start()
    kept = [await supervisor.spawn(SandboxSpec()) for _ in range(3)]
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as gateway:
        assert gateway.stdout is not None
        assert gateway.stdout.readline() == b"up\n"
        pidfds = [os.pidfd_open(pid) for pid in descendants(gateway.pid)]
        assert len(pidfds) == 5  # keeper, zygote and three instances
        gateway.kill()
        gateway.wait()
    for pidfd in pidfds:
        readable, _, _ = select.select([pidfd], [], [], 60)
        assert readable, "a process outlived the gateway"
        os.close(pidfd)


async def test_a_fresh_zygote_takes_over_and_running_instances_are_unharmed(
    supervisor: Supervisor,
) -> None:
    old = await supervisor.spawn(SandboxSpec())
    before = descendants(os.getpid())
    await supervisor.rotate()
    assert old.outdated
    fresh = await supervisor.spawn(SandboxSpec())
    assert not fresh.outdated
    assert not old.exited.done()
    old.close()
    assert (await old.exited).signal == signal.SIGKILL
    ended = [os.pidfd_open(pid) for pid in before if _exists(pid)]
    for pidfd in ended:
        readable, _, _ = await asyncio.to_thread(select.select, [pidfd], [], [], 60)
        assert readable, "the old zygote stays without instances"
        os.close(pidfd)
    assert supervisor.alive
    fresh.close()
    await fresh.exited


async def test_an_unused_zygote_ends_as_soon_as_it_is_replaced(supervisor: Supervisor) -> None:
    (old,) = children(os.getpid())
    pidfd = os.pidfd_open(old)
    await supervisor.rotate()
    readable, _, _ = await asyncio.to_thread(select.select, [pidfd], [], [], 60)
    os.close(pidfd)
    assert readable


async def test_a_rotation_that_fails_changes_nothing(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises((SupervisorDown, HostUnfit)):
        await supervisor.rotate()
    assert supervisor.alive
    assert not sandbox.outdated
    sandbox.close()
    (await supervisor.spawn(SandboxSpec())).close()


def _exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def test_it_rotates_by_itself() -> None:
    supervisor = Supervisor(SupervisorSettings(rotation_seconds=0.05))
    await supervisor.start()
    first = await supervisor.spawn(SandboxSpec())
    async with asyncio.timeout(60):
        # The supervisor tells nobody: what it did is seen on the sandbox.
        while not first.outdated:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    first.close()
    await supervisor.close()
    assert descendants(os.getpid()) == []
