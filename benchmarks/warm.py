"""A hello through everything, beside what users would put in its place.

Requests per second of many connections, and what one request adds when there is nothing to wait
for: the 50th percentile of one connection, less that of a bare server.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.load import Load, measure
from benchmarks.servers import HELLO, node

Rounds = dict[str, list[Load]]


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Alternate between all of them; medians over the rounds."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(node())
        ours.plan("hello", "enterprise")
        ours.deploy("hello", HELLO)
        others, skipped = peers.start(stack, "hello")
        ports = {"waypost": ours.port, **others}
        many = _rounds(ports, arguments.connections, arguments)
        one = _rounds(ports, 1, arguments)
    return _report(many, one, skipped, arguments)


def _rounds(ports: dict[str, int], connections: int, arguments: argparse.Namespace) -> Rounds:
    rounds: Rounds = {name: [] for name in ports}
    for number in range(arguments.rounds + 1):
        for name, port in ports.items():
            seconds = arguments.seconds if number else 1
            load = measure(port, "hello.localhost", connections=connections, seconds=seconds)
            if number:  # the first round only warms up
                rounds[name].append(load)
    return rounds


def _report(
    many: Rounds, one: Rounds, skipped: dict[str, str], arguments: argparse.Namespace
) -> dict[str, object]:
    figures: dict[str, Any] = {name: _figures(many[name], one[name]) for name in many}
    ours, bare = figures["waypost"], figures["bare uvicorn"]
    for name, figure in figures.items():
        # Of the same round each: a machine that others use is slow for both.
        pairs = zip(many["waypost"], many[name], strict=True)
        figure["ratio"] = median(
            a.requests_per_second / b.requests_per_second if b.requests_per_second else 0.0
            for a, b in pairs
        )
        figure["added_us"] = (figure["one_p50_ms"] - bare["one_p50_ms"]) * 1000
    if not arguments.json:
        spent = f"{arguments.rounds} rounds of {arguments.seconds:g} s"
        print(f"{arguments.connections} connections, then 1; {spent}, medians")
        heads = ("requests/s", "p50 ms", "p99 ms", "errors", "we / it", "1: p50 ms", "added µs")
        print(f"{'':18}" + "".join(f"{head:>11}" for head in heads))
        for name, figure in figures.items():
            print(
                f"{name:18}{figure['requests_per_second']:11,.0f}{figure['p50_ms']:11.2f}"
                f"{figure['p99_ms']:11.2f}{figure['errors']:11}{figure['ratio']:11.2f}"
                f"{figure['one_p50_ms']:11.3f}{figure['added_us']:11.0f}"
            )
    return {
        "connections": arguments.connections,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "figures": figures,
        "added_p50_us": ours["added_us"],
        "skipped": skipped,
        "samples": {name: [asdict(load) for load in all_] for name, all_ in many.items()},
        "samples_one": {name: [asdict(load) for load in all_] for name, all_ in one.items()},
    }


def _figures(many: list[Load], one: list[Load]) -> dict[str, float]:
    return {
        "requests_per_second": median(load.requests_per_second for load in many),
        "p50_ms": median(load.p50_ms for load in many),
        "p99_ms": median(load.p99_ms for load in many),
        "errors": sum(load.errors for load in many) + sum(load.errors for load in one),
        "one_p50_ms": median(load.p50_ms for load in one),
    }
