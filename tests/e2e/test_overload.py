"""Where one tenant keeps the gateway itself busy, it is that tenant that waits or is shed.

The node is stopped for a moment, so that all requests of a test come at one turn of its loop.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest

from tests.support.raw import Wire
from tests.support.served import Served, launch, wait_until

HELLO = """
from workers import Response
async def on_fetch(request):
    return Response("hello")
"""
CROWD = 150


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with launch(tmp_path_factory.mktemp("overload") / "state", []) as served:
        for name in ("heavy", "quiet"):
            served.deploy(name, HELLO)
            assert served.get(name).status_code == 200
        yield served


@pytest.fixture
def wires(node: Served) -> Iterator[list[Wire]]:
    """The connections of a crowd, and last one of a visitor, all taken in."""
    port = int(node.facts["tenants"].rpartition(":")[2])
    with ExitStack() as stack:
        made = [stack.enter_context(closing(Wire(port))) for _ in range(CROWD + 1)]
        for wire in made:
            ask(wire, "quiet")
        assert {wire.answer().status for wire in made} == {200}
        yield made


def ask(wire: Wire, name: str) -> None:
    wire.send(f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())


@contextmanager
def stopped(node: Served) -> Iterator[None]:
    """Whatever is sent meanwhile is there at once when the node goes on."""
    pid = node.node
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def counted(node: Served, metric: str, name: str = "") -> Counter[str]:
    """Samples of a metric by their labels, summed; those of one script only."""
    found: Counter[str] = Counter()
    for line in httpx.get(f"{node.facts['api']}/metrics", timeout=30).text.splitlines():
        sample = re.fullmatch(rf"{metric}(?:\{{(.*)\}})? (\S+)", line)
        if sample and (not name or f'script="{name}"' in sample[1]):
            found[sample[1] or ""] += int(float(sample[2]))
    return found


@pytest.mark.parametrize("crowd", ["heavy", "nobody"])
def test_a_crowd_waits_for_its_turns_and_a_visitor_of_another_does_not(
    node: Served, wires: list[Wire], crowd: str
) -> None:
    before = {
        name: counted(node, "waypost_turns_waited_total", name) for name in ("heavy", "quiet")
    }
    with stopped(node):
        for wire in wires[:-1]:
            ask(wire, crowd)
        ask(wires[-1], "quiet")
    assert wires[-1].answer().status == 200
    expected = 200 if crowd == "heavy" else 404
    assert {wire.answer().status for wire in wires[:-1]} == {expected}
    waited = counted(node, "waypost_turns_waited_total", "heavy") - before["heavy"]
    assert (waited.total() > 0) == (crowd == "heavy")
    assert counted(node, "waypost_turns_waited_total", "quiet") == before["quiet"]


def test_clients_that_leave_before_their_turn_hold_no_place(
    node: Served, wires: list[Wire]
) -> None:
    """The plan has 20 places, and more than that leave."""
    with stopped(node):
        for wire in wires:
            ask(wire, "heavy")
    for wire in wires[::2]:
        wire.reset_on_close()
        wire.close()
    assert {wire.answer().status for wire in wires[1::2]} == {200}
    with closing(Wire(int(node.facts["tenants"].rpartition(":")[2]))) as wire:
        ask(wire, "heavy")
        assert wire.answer().status == 200


def test_how_late_the_loop_is_can_be_seen(node: Served) -> None:
    before = counted(node, "waypost_loop_lag_seconds_count").total()
    wait_until(lambda: counted(node, "waypost_loop_lag_seconds_count").total() > before)
