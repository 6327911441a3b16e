"""How far past its CPU budget an endless loop gets, as the tail reports it."""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from benchmarks.servers import Node, node

BURNER = """\
from workers import Response

async def on_fetch(request):
    if request.url.endswith("/ok"):
        return Response("ok")
    while True:
        pass
"""
REQUESTS = 100
BUDGET_MS = 10


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """100 endless loops on the free plan, each followed by a request that must be answered."""
    with node() as ours:
        ours.deploy("burner", BURNER)
        with _tail(ours, "burner") as events, httpx.Client(timeout=30) as client:
            survived = 0
            headers = {"Host": "burner.localhost"}
            url = f"http://127.0.0.1:{ours.port}"
            for _ in range(REQUESTS):
                answer = client.get(f"{url}/burn", headers=headers)
                if answer.status_code != 503 or answer.headers["waypost-code"] != "1102":
                    raise RuntimeError(f"{answer.status_code}: {answer.text}")
                survived += client.get(f"{url}/ok", headers=headers).status_code == 200
            cpu_ms = sorted(
                event["cpuTime"] for event in events(REQUESTS) if event["outcome"] == "exceededCpu"
            )
    figures = {
        "requests": len(cpu_ms),
        "p50_ms": cpu_ms[len(cpu_ms) // 2],
        "p95_ms": cpu_ms[int(len(cpu_ms) * 0.95)],
        "max_ms": cpu_ms[-1],
        "within_10_to_15_ms": sum(BUDGET_MS <= value <= 15 for value in cpu_ms),
        "next_request_answered": survived,
    }
    if not arguments.json:
        print(f"budget {BUDGET_MS} ms, {len(cpu_ms)} endless loops: " + json.dumps(figures))
    return figures


@contextlib.contextmanager
def _tail(ours: Node, name: str) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """Collect a script's tail in the background; yields ``events(n)``, which waits for n kills."""
    seen: list[dict[str, Any]] = []
    changed = threading.Condition()
    connected = threading.Event()
    response: list[httpx.Response] = []

    def read() -> None:
        with contextlib.suppress(httpx.HTTPError):
            with ours.client.stream("GET", f"/v1/scripts/{name}/tail", timeout=None) as answer:
                response.append(answer)
                connected.set()
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        with changed:
                            seen.append(json.loads(line[6:]))
                            changed.notify()

    def events(wanted: int) -> list[dict[str, Any]]:
        with changed:
            changed.wait_for(
                lambda: sum(e["outcome"] == "exceededCpu" for e in seen) >= wanted, timeout=10
            )
            return list(seen)

    threading.Thread(target=read, daemon=True).start()
    connected.wait(10)
    yield events
