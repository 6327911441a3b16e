"""Requests per second of a hello through everything, beside a bare server and a naive proxy."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from statistics import median

from benchmarks.load import Load, measure
from benchmarks.servers import HELLO, node, uvicorn


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Alternate between the three; medians over the rounds."""
    rounds: dict[str, list[Load]] = {"waypost": [], "bare uvicorn": [], "naive proxy": []}
    with (
        node() as ours,
        uvicorn("hello") as bare,
        uvicorn("proxy", UPSTREAM=f"http://127.0.0.1:{bare}") as naive,
    ):
        ours.plan("hello", "enterprise")
        ours.deploy("hello", HELLO)
        ports = {"waypost": ours.port, "bare uvicorn": bare, "naive proxy": naive}
        for number in range(arguments.rounds + 1):
            for name, port in ports.items():
                load = measure(
                    port,
                    "hello.localhost",
                    connections=arguments.connections,
                    seconds=arguments.seconds if number else 1,
                )
                if number:
                    rounds[name].append(load)
    return _report(rounds, arguments)


def _report(rounds: dict[str, list[Load]], arguments: argparse.Namespace) -> dict[str, object]:
    rates = {
        name: median(load.requests_per_second for load in all_) for name, all_ in rounds.items()
    }
    if not arguments.json:
        spent = f"{arguments.rounds} rounds of {arguments.seconds:g} s"
        print(f"{arguments.connections} connections, {spent}, medians")
        print(f"{'':14}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'ratio':>8}")
        for name, all_ in rounds.items():
            print(
                f"{name:14}{rates[name]:12,.0f}{median(r.p50_ms for r in all_):9.2f}"
                f"{median(r.p99_ms for r in all_):9.2f}{sum(r.errors for r in all_):8}"
                f"{rates['waypost'] / rates[name]:8.2f}"
            )
    return {
        "rates": rates,
        "ratio_to_bare": rates["waypost"] / rates["bare uvicorn"],
        "ratio_to_naive": rates["waypost"] / rates["naive proxy"],
        "rounds": {name: [asdict(load) for load in all_] for name, all_ in rounds.items()},
    }
