"""When the node is full, who has most gives way to who has least."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway import app
from tests.support.node import LiveNode, live_node

ROOM = 3
NAP_SECONDS = 0.2
NAPPING = f"""
import time
from workers import Response
def on_fetch(request, env, ctx):
    time.sleep({NAP_SECONDS})
    return Response("rested")
"""
QUIET = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response("ok")
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveNode]:
    monkeypatch.setattr(app, "MAX_INSTANCES", ROOM)
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
