"""Requests that go round 1, 100 and 1000 tenants, each with an instance of its own that is warm.

A node for each number, all up at once; those that are not measured stand still. Rounds alternate.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Iterator
from statistics import median

from benchmarks.load import Load, measure
from benchmarks.servers import HELLO, Node, node

NUMBERS = (1, 100, 1000)
_PLAN = "enterprise"
"""More requests at once than there are connections: nobody waits for a turn."""


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """``--rounds`` of ``--seconds`` for each number; medians, and ratios of the same round."""
    rounds: dict[int, list[Load]] = {number: [] for number in NUMBERS}
    with contextlib.ExitStack() as stack:
        nodes = {number: stack.enter_context(_filled(number)) for number in NUMBERS}
        for turn in range(arguments.rounds + 1):
            for number, ours in nodes.items():
                with _awake(ours):
                    load = _measure(ours, number, arguments)
                if turn:  # the first round starts what was evicted, and warms up
                    rounds[number].append(load)
    figures: dict[str, object] = {}
    for number, loads in rounds.items():
        figures[f"requests_per_second_{number}"] = median(_rates(loads))
        figures[f"p99_ms_{number}"] = median(load.p99_ms for load in loads)
        pairs = zip(_rates(loads), _rates(rounds[1]), strict=True)
        figures[f"ratio_{number}"] = median(rate / of_one for rate, of_one in pairs)
    figures["errors"] = sum(load.errors for loads in rounds.values() for load in loads)
    return figures


def _measure(ours: Node, number: int, arguments: argparse.Namespace) -> Load:
    return measure(
        ours.port,
        "hello.localhost",
        connections=arguments.connections,
        seconds=arguments.seconds,
        tenants=number,
    )


def _rates(loads: list[Load]) -> list[float]:
    return [load.requests_per_second for load in loads]


@contextlib.contextmanager
def _filled(number: int) -> Iterator[Node]:
    """A node with so many tenants, which stands still until it is measured."""
    with node() as ours:
        for count in range(number):
            ours.plan(f"hello{count}", _PLAN)
            ours.deploy(f"hello{count}", HELLO)
        os.kill(ours.gateway, signal.SIGSTOP)
        try:
            yield ours
        finally:
            os.kill(ours.gateway, signal.SIGCONT)


@contextlib.contextmanager
def _awake(ours: Node) -> Iterator[None]:
    os.kill(ours.gateway, signal.SIGCONT)
    try:
        yield
    finally:
        os.kill(ours.gateway, signal.SIGSTOP)
