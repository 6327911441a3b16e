"""A node as its operator runs it: ``waypost serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx

SCRIPTS = "/client/v4/accounts/platform/workers/dispatch/namespaces/production/scripts"


class Served:
    """A ``waypost serve`` of its own."""

    def __init__(self, process: subprocess.Popen[str], facts: dict[str, Any]) -> None:
        self.process = process
        self.facts = facts
        self.token = facts["operator_token"]

    def deploy(self, name: str, source: str) -> None:
        files = {
            "metadata": (None, json.dumps({"main_module": "main.py"}), "application/json"),
            "main.py": ("main.py", source, "text/x-python"),
        }
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.facts['api']}{SCRIPTS}/{name}"
        httpx.put(url, files=files, headers=headers, timeout=60).raise_for_status()

    def get(self, name: str) -> httpx.Response:
        headers = {"Host": f"{name}.localhost"}
        return httpx.get(self.facts["tenants"], headers=headers, timeout=60)

    @property
    def node(self) -> int:
        """The node that serves now; ``process`` is its manager."""
        pid = self.process.pid
        [node] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(node)

    def family(self) -> set[int]:
        """The node's process and all below it."""
        return descendants(self.process.pid) | {self.process.pid}


@contextmanager
def serve(data_dir: Path, *options: str, **environment: str) -> Iterator[Served]:
    with launch(data_dir, options, environment=environment) as served:
        yield served


@contextmanager
def launch(
    data_dir: Path,
    options: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stderr: IO[str] | None = None,
    prefix: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
) -> Iterator[Served]:
    command = [*prefix, sys.executable, "-m", "gateway", "serve", "--json"]
    command += ["--data-dir", str(data_dir)]
    command += ["--port", "0", "--api-port", "0", *options]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WAYPOST_")}
    process = subprocess.Popen(
        command,
        env={**clean, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=stderr,
        pass_fds=pass_fds,
        text=True,
        cwd=data_dir.parent,
    )
    assert process.stdout is not None
    try:
        yield Served(process, json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def parent(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def descendants(pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            above = parent(int(entry.name))
            children.setdefault(above, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting.extend(below)
    return found


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def wait_until_gone(pids: set[int], seconds: float) -> set[int]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = {pid for pid in pids if _lives(pid)}
        if not left:
            return left
        time.sleep(0.02)
    return left


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
