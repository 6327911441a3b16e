"""The first request to a script whose version has never run on the node."""

from __future__ import annotations

import argparse
import http.client
import time

from benchmarks.servers import HELLO, Node, node

SCRIPTS = 40


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Deploy, let a change of plan retire the instance that validated the upload, then ask once."""
    with node() as ours:
        for number in range(SCRIPTS):
            ours.deploy(f"cold{number}", HELLO)
            ours.client.put(f"/v1/tenants/cold{number}", json={"plan": "pro"}).raise_for_status()
        samples = sorted(_first_request(ours, f"cold{number}") for number in range(SCRIPTS))
    figures: dict[str, object] = {
        "scripts": SCRIPTS,
        "p50_ms": samples[len(samples) // 2],
        "p90_ms": samples[int(len(samples) * 0.9)],
        "max_ms": samples[-1],
    }
    if not arguments.json:
        print(
            f"cold start over {SCRIPTS} scripts, client's view: p50 {figures['p50_ms']:.1f} ms,"
            f" p90 {figures['p90_ms']:.1f} ms, max {figures['max_ms']:.1f} ms"
        )
    return figures


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
