"""Honest tenants alone, and beside one that burns every instance it may have.

The neighbour answers, but only after it has burnt most of its CPU budget, with more visitors than
its plan lets in at once. To tell what the machine does to whoever shares it, the same visitors ask
a bare uvicorn, alone and beside as many processes that burn at the lowest priority there is, and
nothing of ours. Rounds alternate, so that all meet the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.honest import TENANTS, Seen, Visitors, percentile, watch
from benchmarks.servers import Node, node, uvicorn

HONEST = """\
from workers import Response

async def on_fetch(request):
    return Response("this is {name}")
"""
NOISY = """\
import time
from workers import Response

def on_fetch(request):
    until = time.process_time() + 0.04
    while time.process_time() < until:
        pass
    return Response("burnt")
"""
CONNECTIONS = 200
"""Twice the concurrency of the plan."""
SETTLE_SECONDS = 1.0
BURNERS = 16
"""Instances that the neighbour's plan allows, and processes beside the bare server."""
_BURN = "import os\nos.nice(19)\nwhile True: pass"


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """``--rounds`` of ``--seconds`` each way; medians of the rounds' percentiles."""
    alone: list[Seen] = []
    beside: list[Seen] = []
    bare_alone: list[Seen] = []
    bare_beside: list[Seen] = []
    burnt: list[float] = []
    with node() as ours, uvicorn("named") as bare:
        for number in range(TENANTS):
            name = f"honest-{number}"
            ours.plan("honest", "free")
            ours.deploy(name, HONEST.format(name=name))
        ours.plan("noisy", "enterprise")
        ours.deploy("noisy", NOISY)
        watch(ours.port, SETTLE_SECONDS)
        for _ in range(arguments.rounds):
            alone.append(watch(ours.port, arguments.seconds))
            with _noise(ours, arguments.seconds + 2 * SETTLE_SECONDS) as answered:
                time.sleep(SETTLE_SECONDS)
                visitors = Visitors(ours.port)
                time.sleep(arguments.seconds)
                beside.append(visitors.stop())
            burnt.append(answered[0])
            bare_alone.append(watch(bare, arguments.seconds))
            with _burners():
                time.sleep(SETTLE_SECONDS)
                bare_beside.append(watch(bare, arguments.seconds))
    figures = _figures(alone, beside) | {"noisy_answers_per_second": median(burnt)}
    figures |= {f"bare_{key}": value for key, value in _figures(bare_alone, bare_beside).items()}
    if not arguments.json:
        for key, value in figures.items():
            print(f"{key}: {value}")
    return figures


def _figures(alone: list[Seen], beside: list[Seen]) -> dict[str, object]:
    before, after = _p99(alone), _p99(beside)
    return {
        "alone_p50_ms": median(seen.p50_ms for seen in alone),
        "alone_p99_ms": before,
        "beside_p50_ms": median(seen.p50_ms for seen in beside),
        "beside_p99_ms": after,
        "beside_p999_ms": median(percentile(seen.samples_ms, 0.999) for seen in beside),
        "p99_ratio": after / before,
        "honest_errors": sum(len(seen.errors) for seen in (*alone, *beside)),
    }


def _p99(rounds: list[Seen]) -> float:
    return median(seen.p99_ms for seen in rounds)


@contextlib.contextmanager
def _burners() -> Iterator[None]:
    """Processes that burn all that nobody else wants."""
    with contextlib.ExitStack() as running:
        for _ in range(BURNERS):
            process = running.enter_context(subprocess.Popen([sys.executable, "-c", _BURN]))
            running.callback(process.kill)
        yield


@contextlib.contextmanager
def _noise(ours: Node, seconds: float) -> Iterator[list[float]]:
    """Load on the neighbour from a process of its own; its answers a second, afterwards."""
    command = [sys.executable, "-m", "benchmarks.load", str(ours.port), "noisy.localhost", "/"]
    command += [str(CONNECTIONS), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    answered: list[float] = []
    try:
        yield answered
    finally:
        out, _ = process.communicate()
        rate = out.partition('"requests_per_second": ')[2].partition(",")[0]
        answered.append(float(rate))
