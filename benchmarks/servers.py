"""What is measured: a node of ours with scripts on it, and its peers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

TOKEN = "benchmark-operator-token"  # noqa: S105 — of a throw-away node
HELLO = """\
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("hello")
"""


class Node:
    """A running node."""

    def __init__(self, port: int, api_port: int, pid: int) -> None:
        self.port = port
        self.api_port = api_port
        self.pid = pid
        """The manager, which only keeps the sockets."""
        self.gateway = children(pid)[0]
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{api_port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60,
        )

    def deploy(self, name: str, source: str) -> None:
        """Upload a one-file script."""
        path = f"/client/v4/accounts/platform/workers/dispatch/namespaces/production/scripts/{name}"
        files = {
            "metadata": (None, json.dumps({"main_module": "main.py"}), "application/json"),
            "main.py": ("main.py", source, "text/x-python"),
        }
        answer = self.client.put(path, files=files)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)

    def plan(self, tenant: str, plan: str) -> None:
        """Put a tenant on a plan."""
        self.client.put(f"/v1/tenants/{tenant}", json={"plan": plan}).raise_for_status()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], path: str = "/") -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"server on port {port} ended with status {process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}{path}").status_code < 500:
                return
        time.sleep(0.05)
    raise RuntimeError(f"no answer on port {port}")


@contextlib.contextmanager
def node(*arguments: str, **settings: str) -> Iterator[Node]:
    """A node of ours in a temporary directory; ``settings`` are variables of its environment."""
    port, api_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as data_dir:
        command = [sys.executable, "-m", "gateway", "serve", "--data-dir", data_dir]
        command += ["--port", str(port), "--api-port", str(api_port), *arguments]
        environment = {**os.environ, "WAYPOST_OPERATOR_TOKEN": TOKEN, **settings}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            _wait(api_port, process, "/readyz")
            yield Node(port, api_port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def below(pid: int) -> list[int]:
    """All processes below one."""
    found = children(pid)
    return found + [further for child in found for further in below(child)]


@contextlib.contextmanager
def running(command: list[str], port: int | None, **environment: str) -> Iterator[int]:
    """A server of others, which answers on ``port`` once it is up; its process id."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if port is not None:
            _wait(port, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def uvicorn_command(app: str) -> list[str]:
    """How uvicorn is started with one of benchmarks.apps."""
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.apps:{app}"]
    return [*command, "--no-access-log", "--log-level", "error", "--loop", "uvloop"]


@contextlib.contextmanager
def uvicorn(app: str, **environment: str) -> Iterator[int]:
    """A bare uvicorn with one of benchmarks.apps."""
    port = free_port()
    with running([*uvicorn_command(app), "--port", str(port)], port, **environment):
        yield port


def _node_of(manager: int) -> int:
    """The node that a manager runs: what is measured."""
    [node] = Path(f"/proc/{manager}/task/{manager}/children").read_text().split()
    return int(node)
