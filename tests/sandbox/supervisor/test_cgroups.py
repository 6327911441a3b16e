"""Cgroups: made where the node may, one for each instance, removed again, and found by rule."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import MIB, HostUnfit, SandboxSpec, Supervisor, SupervisorSettings
from sandbox.supervisor import cgroups
from sandbox.supervisor.cgroups import OWN_LEAF, PREFIX, Cgroups, CgroupsUnavailable, Group, Place
from tests.support.served import wait_until

pytestmark = pytest.mark.isolation


@pytest.fixture
def place() -> Place:
    try:
        return cgroups.find()
    except CgroupsUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def kernel(place: Place) -> Iterator[Cgroups]:
    opened = Cgroups(place)
    yield opened
    opened.close()


def groups_of(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[2] for line in lines if PREFIX in line}


class Child:
    """A process that runs one line of Python once it is told to."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", f"input()\n{code}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def run(self) -> int:
        with self.process:
            self.process.communicate(b"\n", timeout=30)
        return self.process.returncode


def test_over_its_memory_it_is_killed_and_the_account_says_so(kernel: Cgroups) -> None:
    child = Child("b = bytearray(200 << 20)")
    group = kernel.add(child.pid, 64 * MIB, 16)
    assert child.run() == -signal.SIGKILL
    assert group.ran_out_of_memory()
    group.remove()
    assert not any(directory.exists() for directory in group.directories)


def test_pages_of_a_memory_file_system_count(kernel: Cgroups) -> None:
    # Beyond what address space and resident size show.
    child = Child(
        "import os\nfd = os.memfd_create('m')\nfor _ in range(200): os.write(fd, bytes(1 << 20))"
    )
    group = kernel.add(child.pid, 64 * MIB, 16)
    assert child.run() == -signal.SIGKILL
    assert group.ran_out_of_memory()
    group.remove()


def test_within_its_memory_nothing_happens(kernel: Cgroups) -> None:
    child = Child("b = bytearray(30 << 20)")
    group = kernel.add(child.pid, 64 * MIB, 16)
    assert child.run() == 0
    assert not group.ran_out_of_memory()
    group.remove()


def test_tasks_are_bounded(kernel: Cgroups, place: Place) -> None:
    if "pids" not in place.directories:
        pytest.skip("no pids controller")
    child = Child(
        "import _thread, time\nfor n in range(9): _thread.start_new_thread(time.sleep, (9,))"
    )
    group = kernel.add(child.pid, 64 * MIB, 4)
    assert child.run() == 1, "the fourth thread is refused"
    group.remove()


def test_what_is_not_empty_yet_is_removed_later(kernel: Cgroups) -> None:
    child = Child("")
    group = kernel.add(child.pid, 64 * MIB, 16)
    group.remove()
    assert all(directory.exists() for directory in group.directories)
    child.run()
    kernel.close()
    assert not any(directory.exists() for directory in group.directories)


def test_a_process_that_is_gone_leaves_no_group(kernel: Cgroups) -> None:
    child = Child("")
    child.run()
    with pytest.raises(ProcessLookupError):
        kernel.add(child.pid, 64 * MIB, 16)
    for own in kernel._directories.values():
        assert not [path for path in own.iterdir() if path.is_dir()]


def test_a_dead_nodes_groups_are_removed_and_a_living_ones_are_not(
    kernel: Cgroups, place: Place
) -> None:
    program = """
import os, signal
from sandbox.supervisor import cgroups
opened = cgroups.Cgroups(cgroups.find())
print(*opened._directories.values(), sep="\\n", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
        left = [Path(line) for line in done.stdout.decode().split()]
        assert left
        # Nodes of other tests, beside this one, remove them, too.
        if all(path.is_dir() for path in left):
            break
    child = Child("")
    ours = kernel.add(child.pid, 64 * MIB, 16)
    Cgroups(place).close()
    wait_until(lambda: not any(path.exists() for path in left))
    assert all(path.is_dir() for path in ours.directories)
    child.run()


def test_one_that_another_node_takes_for_a_leftover_is_made_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, *others = (secrets.token_hex(4) for _ in range(5))
    coming = iter((lost, *others))
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(coming))
    real = os.open

    def open_too_late(path: str | Path, *more: Any, **options: Any) -> int:
        if str(path).endswith(f"{PREFIX}{lost}"):
            os.rmdir(path)
        return real(path, *more, **options)

    monkeypatch.setattr(os, "open", open_too_late)
    opened = Cgroups(place)
    own = opened._directories.values()
    assert {path.name for path in own} <= {f"{PREFIX}{name}" for name in others}
    assert all(path.is_dir() for path in own)
    opened.close()
    assert not any(path.exists() for path in own)


@pytest.mark.anyio
async def test_each_instance_has_its_own_and_it_is_gone_with_it(place: Place) -> None:
    supervisor = Supervisor(SupervisorSettings(cgroups="required"))
    await supervisor.start()
    assert supervisor.cgroups == place.version
    spec = SandboxSpec(memory_bytes=32 * MIB)
    first, second = await supervisor.spawn(spec), await supervisor.spawn(spec)
    assert groups_of(first.pid)
    assert not groups_of(first.pid) & groups_of(second.pid)
    assert first.group is not None
    directories = first.group.directories
    assert any(
        file.read_text().strip() == str(first.base_rss_bytes + spec.memory_bytes)
        for directory in directories
        for file in (directory / "memory.limit_in_bytes", directory / "memory.max")
        if file.exists()
    )
    first.close()
    status = await first.exited
    assert not status.out_of_memory
    await asyncio.to_thread(wait_until, lambda: not any(path.exists() for path in directories))
    await supervisor.close()
    second.close()
    assert not any(directory.parent.exists() for directory in directories)


@pytest.mark.anyio
async def test_the_loop_does_not_wait_for_groups_to_be_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has whoever removes one wait for moves, long enough for visitors to notice."""
    removed_in, asked_in = list[int](), list[int]()
    remove, ask = Group.try_remove, Group.ran_out_of_memory

    def note_removal(group: Group) -> bool:
        removed_in.append(threading.get_ident())
        return remove(group)

    def note_question(group: Group) -> bool:
        asked_in.append(threading.get_ident())
        return ask(group)

    monkeypatch.setattr(Group, "try_remove", note_removal)
    monkeypatch.setattr(Group, "ran_out_of_memory", note_question)
    supervisor = Supervisor(SupervisorSettings(cgroups="required"))
    await supervisor.start()
    sandbox = await supervisor.spawn(SandboxSpec())
    sandbox.close()
    await sandbox.exited
    with pytest.raises(ProcessLookupError):
        sandbox.cpu_ns(exact=False)
    await supervisor.close()
    assert removed_in
    assert asked_in
    assert threading.get_ident() not in {*removed_in, *asked_in}


# Finding them, on hosts that are not this one

V2 = "41 31 0:38 / {point} rw - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 {root} {point}/{name} rw - cgroup cgroup rw,{name}\n"


def host(tmp_path: Path, memberships: str, mounts: str) -> Path:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(memberships)
    (proc / "mountinfo").write_text(mounts)
    return proc


def v2_group(directory: Path, controllers: str, members: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "cgroup.controllers").write_text(controllers)
    (directory / "cgroup.subtree_control").write_text("")
    (directory / "cgroup.type").write_text("domain")
    (directory / "cgroup.procs").write_text(members)
    return directory


def test_a_delegated_v2_group_is_shared_out_and_the_node_moves_aside(tmp_path: Path) -> None:
    own = v2_group(tmp_path / "cg/system/waypost", "cpu memory pids", f"{os.getpid()}\n")
    proc = host(tmp_path, "0::/system/waypost\n", V2.format(point=tmp_path / "cg"))
    place = cgroups.find(proc)
    assert (place.version, set(place.directories.values())) == ("v2", {own})
    opened = Cgroups(place)
    assert (own / OWN_LEAF / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"
    group = opened.add(4711, 64 * MIB, 16)
    (directory,) = group.directories
    assert {file.name: file.read_text() for file in directory.iterdir()} == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "16",
        "cgroup.procs": "4711",
    }
    (directory / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 0\n")
    assert not group.ran_out_of_memory()
    (directory / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
    assert group.ran_out_of_memory()
    opened.close()


def test_a_node_that_moved_aside_already_finds_the_same_place(tmp_path: Path) -> None:
    own = v2_group(tmp_path / "cg/waypost", "memory", "")
    (own / OWN_LEAF).mkdir()
    proc = host(tmp_path, f"0::/waypost/{OWN_LEAF}\n", V2.format(point=tmp_path / "cg"))
    assert cgroups.find(proc).directories == {"memory": own}


def test_a_v2_group_that_others_live_in_is_left_alone(tmp_path: Path) -> None:
    own = v2_group(tmp_path / "cg/session", "memory pids", f"{os.getpid()}\n1\n")
    proc = host(tmp_path, "0::/session\n", V2.format(point=tmp_path / "cg"))
    with pytest.raises(CgroupsUnavailable, match="other processes"):
        Cgroups(cgroups.find(proc))
    assert (own / "cgroup.subtree_control").read_text() == ""


def test_v1_below_a_containers_root(tmp_path: Path) -> None:
    (tmp_path / "cg/memory").mkdir(parents=True)
    mounts = V1.format(root="/docker/abc", point=tmp_path / "cg", name="memory")
    proc = host(tmp_path, "4:memory:/docker/abc\n0::/\n", mounts)
    if os.geteuid():
        with pytest.raises(CgroupsUnavailable):
            cgroups.find(proc)
    else:
        assert cgroups.find(proc).directories == {"memory": tmp_path / "cg/memory"}


@pytest.mark.parametrize("memberships", ["", "0::/\n", "4:memory:/elsewhere\n", "garbage::\n"])
def test_without_a_memory_controller_there_are_none(tmp_path: Path, memberships: str) -> None:
    (tmp_path / "cg").mkdir()
    proc = host(tmp_path, memberships, V2.format(point=tmp_path / "cg"))
    with pytest.raises(CgroupsUnavailable) as refusal:
        cgroups.find(proc)
    assert refusal.value.fix


@pytest.mark.anyio
async def test_required_and_not_there_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    def none_here() -> Place:
        raise CgroupsUnavailable("no memory controller")

    monkeypatch.setattr(cgroups, "find", none_here)
    supervisor = Supervisor(SupervisorSettings(cgroups="required"))
    with pytest.raises(HostUnfit, match="Delegate=yes"):
        await supervisor.start()
    await supervisor.close()
    relaxed = Supervisor(SupervisorSettings())
    await relaxed.start()
    assert relaxed.cgroups == "off"
    (await relaxed.spawn(SandboxSpec())).close()
    await relaxed.close()
