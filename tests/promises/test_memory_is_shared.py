"""What an instance costs: the pages that it shares with no other process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.node import live_node
from tests.support.served import descendants

pytestmark = [pytest.mark.promise, pytest.mark.timeout(120)]

HELLO = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("hello")
"""
SCRIPTS = 5
MOST_MB = 3.8
"""Some more than docs/performance.md tells; without sharing it would be ten times as much."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read what a jailed process shares")
def test_an_instance_has_little_memory_of_its_own(tmp_path: Path) -> None:
    with live_node(tmp_path / "data") as node:
        for number in range(SCRIPTS):
            node.deploy(f"hello{number}", HELLO)
            for _ in range(3):
                assert node.request(f"hello{number}").text == "hello"
        unique = []
        for pid in descendants(os.getpid()):
            # Some are gone before they are looked at: a birth takes a process that ends.
            with suppress(FileNotFoundError, ProcessLookupError):
                if is_jailed(pid):
                    unique.append(unique_mb(pid))
        unique.sort()
    assert len(unique) >= SCRIPTS
    assert unique[len(unique) // 2] < MOST_MB, unique


def is_jailed(pid: int) -> bool:
    """Whether it is below the zygote, which has a pid namespace of its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = Path("/proc/self/status").read_text()
    return depth(status) == depth(own) + 2


def depth(status: str) -> int:
    [line] = [line for line in status.splitlines() if line.startswith("NSpid:")]
    return len(line.split())


def unique_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
