"""CPU burnt when no request is in flight is cut short, whatever burns it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config
from tests.support.node import LiveNode, live_node
from tests.support.served import descendants

THREAD = """
import threading, time
from workers import Response
def burn():
    time.sleep(0.05)
    while True:
        pass
async def on_fetch(request, env, ctx):
    threading.Thread(target=burn, daemon=True).start()
    return Response("ok")
"""
TASK = """
import asyncio
from workers import Response
async def burn():
    await asyncio.sleep(0.05)
    while True:
        sum(range(1000))
        await asyncio.sleep(0)
async def on_fetch(request, env, ctx):
    asyncio.get_running_loop().create_task(burn())
    return Response("ok")
"""
RESTED = THREAD.replace("time.sleep(0.05)", "time.sleep(0.5)")
"""Several looks have found it at rest."""
MOST_SECONDS = 0.4
"""An instance may owe 50 ms; it is looked at each 100 ms, and this machine may be busy."""


def cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def without_spares(config: Config) -> Config:
    return msgspec.structs.replace(
        config, sandbox=msgspec.structs.replace(config.sandbox, spares=0)
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node whose processes are those that serve."""
    with live_node(tmp_path_factory.mktemp("node") / "data", without_spares) as node:
        yield node


@pytest.mark.parametrize("code", [THREAD, TASK, RESTED], ids=["thread", "task", "rested"])
def test_an_instance_that_burns_between_requests_is_ended(node: LiveNode, code: str) -> None:
    # Where nobody looks for a while because the machine stands still, it burns on.
    for _ in range(3):
        burnt = burnt_when_idle(node, code)
        if burnt < MOST_SECONDS:
            break
    assert burnt < MOST_SECONDS


def burnt_when_idle(node: LiveNode, code: str) -> float:
    """CPU seconds of an instance of that code until it is ended."""
    before = descendants(os.getpid())
    node.deploy("idler-one", code)
    (instance,) = descendants(os.getpid()) - before
    assert node.request("idler-one").text == "ok"
    most = 0.0
    deadline = time.monotonic() + 20
    while instance in descendants(os.getpid()):
        most = max(most, cpu_seconds(instance))
        assert time.monotonic() < deadline, f"it lives and has burnt {most} s"
        # The node is a thread of this process: one that looks all the time would starve it.
        time.sleep(0.01)
    return most
