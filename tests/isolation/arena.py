"""A node with a victim on it, hostile workers sent in one by one, and a look at all of it after."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from gateway.config import SandboxConfig
from tests.support.node import SCRIPTS, Tail
from tests.support.served import (
    Served,
    descendants,
    parent,
    serve,
    wait_until,
    wait_until_gone,
)

from .casebook import Case

VICTIM: Final = "victim"
HOSTILE: Final = "hostile"
VICTIM_BODY: Final = "the victim's own answer"
HELLO: Final = (
    "from workers import Response\nasync def on_fetch(r, env, ctx): return Response({!r})\n"
)
MIB: Final = 1 << 20
RSS_ROOM: Final = 48 * MIB
"""What the gateway may take on top for one attack, at its highest."""
FD_ROOM: Final = 12
"""Connections that clients keep, and instances that wait."""
LOG_LIMIT: Final = 256 * 1024
KEPT_BYTES: Final = 64 * 1024
"""Of an answer's body."""
VICTIM_SECONDS: Final = 2.0
"""The victim is answered within, whatever the hostile ones do."""
PATIENCE_SECONDS: Final = 60.0
SUBREQUESTS: Final = 5
AT_REST: Final = 1 + SandboxConfig().spares
"""Instances when nothing happens: the victim's, and the spares of the one size there is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one request to a hostile worker came to."""

    status: int
    headers: httpx.Headers
    body: bytes
    cut: bool
    """The connection ended inside the answer."""
    seconds: float
    event: dict[str, Any]
    """What the tail said of it."""

    @property
    def result(self) -> dict[str, Any]:
        """What ``attempt()`` returned; empty when it is not that."""
        try:
            result = json.loads(self.body)
        except ValueError:
            return {}
        return result if isinstance(result, dict) and "success" in result else {}

    def describe(self) -> str:
        """In one line, for the failure of a test."""
        errors = [f"{e['name']}: {e['message']}"[:200] for e in self.event.get("exceptions", ())]
        return (
            f"{self.status} outcome={self.event.get('outcome')}"
            f" code={self.headers.get('waypost-code')} cut={self.cut} {self.seconds:.2f} s"
            f" cpu={self.event.get('cpuTime')} {errors} {self.body[:300]!r}"
        )


def name_outcome(seen: Seen) -> str:
    """Name what was seen with the words of the index."""
    outcome = seen.event["outcome"]
    limits = {
        "exceededCpu": "killed_cpu",
        "exceededMemory": "killed_mem",
        "exceededWallTime": "killed_wall",
        "internalError": "protocol_error",
    }
    if outcome in limits:
        return limits[outcome]
    if any(error["name"] == "ProcessDied" for error in seen.event["exceptions"]):
        return "worker_died"
    if seen.headers.get("waypost-code") == "bad_response":
        return "bad_response"
    if outcome == "exception" or seen.cut:
        return "error"
    if seen.result:
        return "limited" if seen.result["success"] else "blocked"
    return "response_sent"


class Arena:
    """A served node with a victim on it."""

    def __init__(self, node: Served, folder: Path) -> None:
        self.node = node
        self.folder = folder
        manager = node.process.pid
        self.pid = next(pid for pid in descendants(manager) if parent(pid) == manager)
        self.url: str = node.facts["tenants"]
        self.api = httpx.Client(
            base_url=node.facts["api"],
            headers={"Authorization": f"Bearer {node.token}"},
            timeout=30,
        )
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)
        self._hostile = self._asked = 0
        [keeper] = _children(self.pid)
        self.zygote = {keeper, *_children(keeper)}
        assert len(self.zygote) == 2, "keeper and zygote"
        self._settle()

    def _settle(self) -> None:
        """Put the victim in, and note what the node is like before anything hostile comes."""
        self.set_plan(VICTIM, "free")
        self.deploy(VICTIM, HELLO.format(VICTIM_BODY))
        assert self.victim() == (200, VICTIM_BODY)
        self.set_plan(HOSTILE, "free")
        self.tail = Tail(self.api, f"/v1/tenants/{HOSTILE}/tail")
        # The first upload and the first event import and allocate what stays.
        first = self.next_name()
        self.deploy(first, HELLO.format("first"))
        self._ask(first, "/?")
        self.remove(first)
        wait_until(self.is_at_rest)
        self.rss = self.memory("VmRSS")
        self.descriptors = self.count_descriptors()

    def close(self) -> None:
        self.tail.close()
        self.client.close()
        self.api.close()

    # Doing

    def set_plan(self, tenant: str, plan: str) -> None:
        self.api.put(f"/v1/tenants/{tenant}", json={"plan": plan}).raise_for_status()

    def deploy(self, name: str, source: str, module: str = "main.py") -> httpx.Response:
        parts = {
            "metadata": (None, json.dumps({"main_module": module}), "application/json"),
            module: (module, source, "text/x-python"),
        }
        return self.api.put(f"{SCRIPTS}/{name}", files=parts)

    def remove(self, name: str) -> None:
        """Remove a script, if it is there."""
        answer = self.api.delete(f"{SCRIPTS}/{name}")
        assert answer.status_code in (200, 404), answer.text

    def next_name(self) -> str:
        self._hostile += 1
        return f"{HOSTILE}-{self._hostile}"

    def attack(self, name: str, case: Case) -> list[Seen]:
        """Send the requests of a case, one after the other."""
        ended = threading.Event()
        longest = 0.0

        def look() -> None:
            nonlocal longest
            while not ended.wait(0.02):
                start = time.monotonic()
                assert self.victim() == (200, VICTIM_BODY)
                longest = max(longest, time.monotonic() - start)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            seen = [self._ask(name, f"/?i={number}") for number in range(case.requests)]
        finally:
            ended.set()
            watcher.join()
        assert longest < VICTIM_SECONDS, f"the victim waited {longest:.2f} s"
        return seen

    def ask(self, name: str, path: str) -> httpx.Response:
        return self.client.get(path, headers={"Host": f"{name}.localhost"})

    def _ask(self, name: str, path: str) -> Seen:
        start = time.monotonic()
        body, cut, status, headers = b"", False, 0, httpx.Headers()
        self._asked += 1
        path = f"{path}&n={self._asked}"
        try:
            host = {"Host": f"{name}.localhost"}
            with self.client.stream("GET", path, headers=host) as answer:
                status, headers = answer.status_code, answer.headers
                for chunk in answer.iter_raw():
                    body += chunk[: KEPT_BYTES - len(body)]
        except httpx.RemoteProtocolError:
            cut = True
        seconds = time.monotonic() - start
        return Seen(status, headers, body, cut, seconds, self.event_of(path))

    def event_of(self, path: str) -> dict[str, Any]:
        """What the tail says of the request of that path; every path is asked for once."""
        return self.tail.find(
            lambda event: bool(event["event"]["request"]["url"].endswith(path)), PATIENCE_SECONDS
        )

    # Looking

    def victim(self) -> tuple[int, str]:
        answer = self.ask(VICTIM, "/")
        return answer.status_code, answer.text

    def count_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self, field: str) -> int:
        """VmRSS or VmHWM of the gateway, bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def forget_peak(self) -> None:
        """Let VmHWM begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def family(self) -> set[int]:
        return descendants(self.pid)

    def resident(self, pid: int) -> int:
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGE_SIZE"
            )
        except OSError:
            return 0

    def instances(self) -> set[int]:
        """Processes of instances: what is below the gateway beside keeper and zygote."""
        return self.family() - self.zygote

    def is_at_rest(self) -> bool:
        """Whether there are as many instances as when nothing happens."""
        return len(self.instances()) == AT_REST


def _children(pid: int) -> set[int]:
    return {child for child in descendants(pid) if parent(child) == pid}


@contextmanager
def open_arena(folder: Path, cases: list[Case], level: str) -> Iterator[Arena]:
    """Serve a node with a plan for each pair of limits that the cases name."""
    plans = {"free": {"cpu_ms": 50, "wall_ms": 5000}}
    for case in cases:
        plans[case.plan] = {"cpu_ms": case.cpu_ms, "wall_ms": case.wall_ms}
    for plan in plans.values():
        plan["subrequests"] = SUBREQUESTS
    config = folder / "routing.yaml"
    sandbox = {"minimum_level": level}
    config.write_text(json.dumps({"plans": plans, "sandbox": sandbox}))
    with serve(folder / "state", "--config", str(config)) as node:
        arena = Arena(node, folder)
        try:
            yield arena
        finally:
            arena.close()
        assert node.process.poll() is None, "the gateway ended"
    assert wait_until_gone(arena.zygote, 60) == set()
