"""What root sees of an instance from outside: barriers that stand behind others, each by itself.

Inside, the first barrier hides whether the second is there; the kernel's own account does not.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxSpec, Supervisor
from sandbox.jail import rlimits
from sandbox.supervisor.verify import read_status

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

SPEC = SandboxSpec()
WRITABLE = ("/tmp", "/app")  # noqa: S108 - names in the jail
FULL_TREE = ("full", "namespaces")


@pytest.fixture
async def instance(supervisor: Supervisor) -> AsyncIterator[Sandbox]:
    if supervisor.level not in FULL_TREE:
        pytest.skip("an instance has a tree of its own in namespaces only")
    sandbox = await supervisor.spawn(SPEC)
    if not os.access(f"/proc/{sandbox.pid}/ns/mnt", os.R_OK):
        sandbox.close()
        pytest.skip("only root may look at a process that is not dumpable")
    yield sandbox
    sandbox.close()


def mounts_of(pid: int) -> list[tuple[str, set[str], str, str]]:
    """Mount point, flags, kind and options of each mount, in the order they were made."""
    found = []
    for line in lines_of(pid, "mountinfo"):
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        found.append((fields[4], set(fields[5].split(",")), kind, options))
    return found


async def test_every_mount_is_read_only_but_its_own_two(instance: Sandbox) -> None:
    mounts = mounts_of(instance.pid)
    writable = [point for point, flags, _, _ in mounts if "ro" not in flags]
    # Twice: below the read-only view of the bundle lies the writable one.
    assert sorted(writable) == sorted(WRITABLE)
    assert [flags >= {"ro", "nodev"} for point, flags, _, _ in mounts if point == "/app"][-1]


async def test_no_mount_gives_privilege_or_devices(instance: Sandbox) -> None:
    for point, flags, _, _ in mounts_of(instance.pid):
        assert "nosuid" in flags, point
        assert "nodev" in flags or point.startswith("/dev/"), point


async def test_only_the_runtime_and_the_bundle_can_be_mapped_to_run(instance: Sandbox) -> None:
    for point, flags, kind, _ in mounts_of(instance.pid):
        assert "noexec" in flags or kind != "tmpfs" or point == "/app", point


async def test_private_mounts_are_limited_and_its_own(instance: Sandbox) -> None:
    uid = read_status(instance.pid)["Uid"].split()[0]
    private = {
        point: options for point, _, kind, options in mounts_of(instance.pid) if point in WRITABLE
    }
    assert set(private) == set(WRITABLE)
    for point, bytes_ in zip(WRITABLE, (SPEC.scratch_bytes, SPEC.bundle_bytes), strict=True):
        options = private[point].split(",")
        assert f"size={bytes_ // 1024}k" in options
        assert any(option.startswith("nr_inodes=") for option in options)
        assert "mode=700" in options
        assert f"uid={uid}" in options


async def test_nothing_of_the_old_root_is_left(instance: Sandbox) -> None:
    points = [point for point, _, kind, _ in mounts_of(instance.pid)]
    assert points.count("/") == 1
    assert not [point for point in points if point.startswith(("/proc", "/sys", "/etc", "/run"))]


async def test_namespaces_are_shared_with_nobody_who_matters(
    supervisor: Supervisor, instance: Sandbox
) -> None:
    other = await supervisor.spawn(SPEC)
    try:
        for name in ("mnt", "ipc", "pid", "net", "uts", "cgroup"):
            ours, one, two = (
                os.readlink(f"/proc/{pid}/ns/{name}") for pid in ("self", instance.pid, other.pid)
            )
            assert one != ours, name
            if name in ("mnt", "ipc", "pid"):
                assert one != two, name
    finally:
        other.close()


def lines_of(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/{name}").read_text().splitlines()


async def test_every_limit_is_set_soft_and_hard(instance: Sandbox) -> None:
    limits = {
        line[:26].strip(): line[26:].split()[:2] for line in lines_of(instance.pid, "limits")[1:]
    }
    for name, value in {
        "Max core file size": 0,
        "Max open files": rlimits.DESCRIPTORS,
        "Max processes": rlimits.THREADS,
        "Max locked memory": 0,
        "Max msgqueue size": 0,
        "Max pending signals": rlimits.DESCRIPTORS,
        "Max nice priority": 0,
        "Max realtime priority": 0,
    }.items():
        assert limits[name] == [str(value)] * 2, name
    for name in ("Max address space", "Max file size", "Max stack size", "Max cpu time"):
        soft, hard = limits[name]
        assert soft == hard != "unlimited", name


async def test_signals_group_and_umask_are_its_own(instance: Sandbox) -> None:
    status = read_status(instance.pid)
    assert status["Umask"] == "0077"
    assert status["NSpgid"].split()[-1] == "1", "its own process group, by which it is metered"
    assert int(status["SigBlk"], 16) == 0
    # SIGPIPE and SIGXFSZ as in every Python; SIGXCPU until there is something to limit.
    assert int(status["SigIgn"], 16) & ~(1 << 12 | 1 << 23 | 1 << 24) == 0


async def test_nobody_of_its_own_rank_may_look_into_it(instance: Sandbox) -> None:
    """The files of a process that is not dumpable belong to root."""
    assert os.stat(f"/proc/{instance.pid}/environ").st_uid == 0
    assert "".join(lines_of(instance.pid, "environ")).strip("\0") == ""
