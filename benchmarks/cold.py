"""The first request to a script whose version has never run on the node.

A hello, and a FastAPI application whose framework is preloaded: one at a time with a pause between
them, with and without spare processes, in alternating rounds; and a burst of them at once.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.honest import percentile
from benchmarks.servers import HELLO, Node, node

SCRIPTS = 50
"""Of each kind, in each round."""
BURST = 16
PAUSE_SECONDS = 0.05
FASTAPI = """\
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()

@app.get("/")
async def root():
    return PlainTextResponse("hello")
"""
KINDS = {"hello": HELLO, "fastapi": FASTAPI}
_SPARES = "WAYPOST_SANDBOX__SPARES"


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Deploy, let a change of plan retire the instance that validated the upload, then ask once."""
    samples: dict[str, list[float]] = {}
    for _ in range(max(1, arguments.rounds // 2)):
        for spares in ("", "0"):
            suffix = "_without_spares" if spares else ""
            for name, values in _round(spares).items():
                samples.setdefault(name + suffix, []).extend(values)
    figures: dict[str, object] = {}
    for name, values in samples.items():
        figures[f"{name}_p50_ms"] = percentile(values, 0.5)
        figures[f"{name}_p99_ms"] = percentile(values, 0.99)
        if not arguments.json:
            print(
                f"{name:24} p50 {percentile(values, 0.5):6.1f} ms  p90 "
                f"{percentile(values, 0.9):6.1f} ms  p99 {percentile(values, 0.99):6.1f} ms"
                f"  n={len(values)}"
            )
    return figures


def _round(spares: str) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    with _environment(spares), node() as ours:
        for kind, source in KINDS.items():
            names = [f"{kind}{number}" for number in range(SCRIPTS)]
            _deploy(ours, names, source)
            for name in names:
                time.sleep(PAUSE_SECONDS)
                samples.setdefault(kind, []).append(_first_request(ours, name))
        names = [f"burst{number}" for number in range(BURST)]
        _deploy(ours, names, HELLO)
        with ThreadPoolExecutor(BURST) as visitors:
            samples["burst"] = list(visitors.map(lambda name: _first_request(ours, name), names))
    return samples


def _deploy(ours: Node, names: list[str], source: str) -> None:
    for name in names:
        ours.deploy(name, source)
        ours.plan(name, "pro")
    time.sleep(10 * PAUSE_SECONDS)


@contextlib.contextmanager
def _environment(spares: str) -> Iterator[None]:
    """Start nodes with so many spares; empty: as many as they want."""
    if spares:
        os.environ[_SPARES] = spares
    try:
        yield
    finally:
        os.environ.pop(_SPARES, None)


def _first_request(ours: Node, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", ours.port)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", "/", headers={"Host": f"{name}.localhost"})
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - begun) * 1000
    connection.close()
    if answer.status != 200 or body != b"hello":
        raise RuntimeError(f"{name}: {answer.status} {body[:200]!r}")
    return took
