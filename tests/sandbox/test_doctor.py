"""What the doctor finds on hosts that lack a barrier (a seccomp filter around it makes them)."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from typing import Any

import pytest

from sandbox import Barrier, examine_host, host_level
from sandbox.doctor import LANDLOCK

pytestmark = pytest.mark.isolation

WITHOUT = """
import asyncio, json, platform, sys
from sandbox.jail import credentials, seccomp, syscalls
from sandbox.jail.syscall_numbers import NUMBERS
I = seccomp.Instruction
denied = NUMBERS[platform.machine()][sys.argv[1]]
program = [
    I(seccomp.LD_WORD, 0, 0, 0),
    I(seccomp.JUMP_EQUAL, 0, 1, denied),
    I(seccomp.RETURN, 0, 0, 0x50000 | int(sys.argv[2])),
    I(seccomp.RETURN, 0, 0, seccomp.RET_ALLOW),
]
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
seccomp.load(seccomp.assemble(program))
from sandbox import (
    HostUnfit, Supervisor, SupervisorSettings, examine_host, host_level, missing_barriers,
)
async def start(minimum):
    supervisor = Supervisor(SupervisorSettings(minimum_level=minimum))
    try:
        await supervisor.start()
        return {"level": supervisor.level}
    except HostUnfit as error:
        return {"barrier": error.barrier, "fix": error.fix}
    finally:
        await supervisor.close()
barriers = examine_host()
print(json.dumps({
    "level": host_level(barriers),
    "missing": [b.name for b in missing_barriers(barriers, "namespaces")],
    "fixes": [b.fix for b in barriers if not b.available],
    "namespaces": asyncio.run(start("namespaces")),
    "full": asyncio.run(start("full")),
}))
"""


def on_a_host_without(call: str, error: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, call, str(error)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def barriers() -> list[Barrier]:
    found = examine_host()
    if host_level(found) != "full":
        pytest.skip("this host lacks barriers already")
    return found


def test_every_barrier_says_what_follows(barriers: list[Barrier]) -> None:
    for barrier in barriers:
        assert barrier.detail
        assert barrier.consequence or barrier.available
        assert barrier.fix if not barrier.available else not barrier.fix


def test_without_namespaces_nothing_runs_unless_asked_for(barriers: list[Barrier]) -> None:
    seen = on_a_host_without("unshare", errno.EPERM)
    assert seen["level"] in ("none", "landlock")
    assert seen["missing"]
    assert all(seen["fixes"])
    assert seen["namespaces"]["barrier"] == seen["missing"][0]
    assert seen["full"]["barrier"] == seen["missing"][0]


def test_without_seccomp_nothing_runs(barriers: list[Barrier]) -> None:
    seen = on_a_host_without("seccomp", errno.EINVAL)
    assert seen["missing"] == ["seccomp"]
    assert seen["namespaces"]["barrier"] == "seccomp"


def test_without_landlock_the_lower_level_runs(barriers: list[Barrier]) -> None:
    seen = on_a_host_without("landlock_create_ruleset", errno.ENOSYS)
    assert seen["level"] == "namespaces"
    assert seen["namespaces"] == {"level": "namespaces"}
    assert seen["full"]["barrier"] == LANDLOCK
    assert "lsm=" in seen["full"]["fix"]


def test_without_pivot_root_the_failing_step_is_named(barriers: list[Barrier]) -> None:
    seen = on_a_host_without("pivot_root", errno.EPERM)
    assert seen["namespaces"].get("barrier")
