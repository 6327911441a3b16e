"""When the node is full, who has most gives way to who has least."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from gateway import rooms
from gateway.config import Config
from tests.support.node import LiveNode, live_node
from tests.support.served import descendants, wait_until

ROOM = 3
NAP_SECONDS = 0.2
NAPPING = f"""
import time
from workers import Response
def on_fetch(request, env, ctx):
    time.sleep({NAP_SECONDS})
    return Response("rested")
"""
BUDGET_MB = 150
HOLDING_MB = 40
"""Three have room, with what the runtime takes; four have not."""
HOLDING = f"""
from workers import Response
kept = bytearray(b"x") * ({HOLDING_MB} << 20)
async def on_fetch(request, env, ctx):
    return Response("ok")
"""
QUIET = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response("ok")
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveNode]:
    monkeypatch.setattr(rooms, "MAX_INSTANCES", ROOM)
    with live_node(tmp_path / "data") as node:
        yield node


def test_a_quiet_tenant_gets_room_beside_one_that_fills_the_node(node: LiveNode) -> None:
    for name in ("quiet-one", "calm-one"):
        node.deploy(name, QUIET)
    node.deploy("greedy-one", NAPPING, plan="enterprise")
    visitors = 3 * ROOM
    over = threading.Event()

    def ask_again_and_again() -> set[int]:
        seen = set()
        while not over.is_set():
            seen.add(node.request("greedy-one").status_code)
        return seen

    with ThreadPoolExecutor(visitors) as pool:
        storm = [pool.submit(ask_again_and_again) for _ in range(visitors)]
        try:
            # As long as it takes to fill all the room there is, with more waiting.
            time.sleep(4 * NAP_SECONDS)
            took = []
            for name in ("quiet-one", "calm-one"):
                begun = time.monotonic()
                assert node.request(name).text == "ok"
                took.append(time.monotonic() - begun)
        finally:
            over.set()
        assert {status for one in storm for status in one.result()} == {200}
    assert max(took) < 10 * NAP_SECONDS


def test_a_full_node_is_shared_by_what_plans_weigh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of five for a plan that weighs 4 beside one that weighs 1, though that was first."""
    monkeypatch.setattr(rooms, "MAX_INSTANCES", 5)
    over = threading.Event()
    with live_node(tmp_path / "data") as node, ThreadPoolExecutor(16) as visitors:

        def keep_asking(name: str) -> None:
            while not over.is_set():
                assert node.request(name).status_code == 200

        def storm(name: str, plan: str) -> list[Future[None]]:
            node.deploy(name, NAPPING, plan=plan)
            return [visitors.submit(keep_asking, name) for _ in range(8)]

        try:
            asked = storm("light-one", "free")
            wait_until(lambda: instances(node, "light-one") == 4)
            asked += storm("heavy-one", "enterprise")
            wait_until(lambda: instances(node, "heavy-one") == 4)
            assert instances(node, "light-one") <= 2  # One may still have to answer.
        finally:
            over.set()
        for one in asked:
            one.result()


def instances(node: LiveNode, name: str) -> int:
    """How many instances of a script are up, as the metrics tell."""
    text = node.api.get("/metrics").text
    found = re.search(rf'^waypost_instances{{[^}}]*script="{name}"[^}}]*}} (\d+)', text, re.M)
    return int(found[1]) if found else 0


def with_little_memory(config: Config) -> Config:
    sandbox = msgspec.structs.replace(config.sandbox, memory_mb=BUDGET_MB, spares=0)
    return msgspec.structs.replace(config, sandbox=sandbox)


def test_beyond_the_memory_budget_the_least_recently_used_leave(tmp_path: Path) -> None:
    with live_node(tmp_path / "data", with_little_memory) as node:
        before = descendants(os.getpid())
        processes = {}
        for number in range(6):
            earlier = descendants(os.getpid())
            node.deploy(f"thing-{number}", HOLDING)
            (processes[number],) = descendants(os.getpid()) - earlier
        deadline = time.monotonic() + 60
        while len(left := descendants(os.getpid()) - before) * HOLDING_MB > BUDGET_MB:
            assert time.monotonic() < deadline, f"{len(left)} instances stay"
            time.sleep(0.05)
        assert left == {processes[number] for number in (3, 4, 5)}
        for number in range(6):
            assert node.request(f"thing-{number}").text == "ok"
