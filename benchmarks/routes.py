"""A store with up to a million hostnames: memory of the node, and an uncached lookup's time."""

from __future__ import annotations

import argparse
import http.client
import random
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.servers import HELLO, Node, node

SIZES = (1_000, 100_000, 1_000_000)
LOOKUPS = 500


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Insert in steps; at each, ask hostnames that were never asked before."""
    figures: list[dict[str, float]] = []
    with node() as ours:
        ours.plan("hello", "enterprise")
        ours.deploy("hello", HELLO)
        _lookup(ours, "hello.localhost")
        before = _rss_mb(ours.gateway)
        done = 0
        for size in SIZES:
            begun = time.perf_counter()
            ours.client.post(
                "/v1/routes/bulk", content=_records(done, size), timeout=600
            ).raise_for_status()
            inserted = time.perf_counter() - begun
            numbers = random.sample(range(size), LOOKUPS)
            warm = sorted(_lookup(ours, "hello.localhost") for _ in range(LOOKUPS))
            cold = sorted(_lookup(ours, f"h{number}.example.com") for number in numbers)
            figures.append(
                {
                    "hostnames": size,
                    "insert_seconds": inserted,
                    "rss_growth_mb": _rss_mb(ours.gateway) - before,
                    "cached_p50_ms": warm[LOOKUPS // 2],
                    "uncached_p50_ms": cold[LOOKUPS // 2],
                    "uncached_p99_ms": cold[int(LOOKUPS * 0.99)],
                }
            )
            done = size
            if not arguments.json:
                print("  ".join(f"{key} {value:,.2f}" for key, value in figures[-1].items()))
    return {"sizes": figures}


def _records(start: int, end: int) -> Iterator[bytes]:
    for number in range(start, end, 1000):
        lines = (
            f'{{"hostname":"h{n}.example.com","script":"hello"}}\n'
            for n in range(number, min(number + 1000, end))
        )
        yield "".join(lines).encode()


def _lookup(ours: Node, host: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", ours.port)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    took = (time.perf_counter() - begun) * 1000
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{host}: {answer.status}")
    return took


def _rss_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6
