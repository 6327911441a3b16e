"""The demo's node: a child process with a temporary data directory and free ports."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from gateway.cli.client import ControlClient
from gateway.cli.credentials import Target
from gateway.cli.output import CliError

_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


class DemoNode:
    """Runs ``waypost serve``; a context manager that leaves no process behind."""

    def __init__(self, directory: Path, *, insecure: bool) -> None:
        self.port = free_port(8787)
        self.api_port = free_port(8788, avoid=self.port)
        self.target = Target(f"http://127.0.0.1:{self.api_port}", f"wp_{secrets.token_urlsafe(32)}")
        self._directory = directory
        self._insecure = insecure
        self._log = directory / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DemoNode:
        command = [sys.executable, "-m", "gateway", "serve", "--data-dir", "state"]
        command += ["--port", str(self.port), "--api-port", str(self.api_port)]
        if self._insecure:
            command.append("--insecure-no-sandbox")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                command,
                cwd=self._directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """The node's process is alive."""
        return self._process is not None and self._process.poll() is None

    def client(self) -> ControlClient:
        """A client that acts as the operator."""
        return ControlClient(self.target)

    def wait_ready(self) -> dict[str, Any]:
        """Wait until the node serves; returns what ``/readyz`` says."""
        deadline = time.monotonic() + _READY_SECONDS
        with httpx.Client(base_url=self.target.api, trust_env=False, timeout=2.0) as http:
            while time.monotonic() < deadline:
                if not self.running:
                    raise self._failed("the node ended at its start")
                try:
                    answer = http.get("/readyz")
                    if answer.is_success:
                        said = answer.json()
                        return said if isinstance(said, dict) else {}
                except (httpx.HTTPError, ValueError):
                    pass
                time.sleep(_POLL_SECONDS)
        raise self._failed(f"the node was not ready after {_READY_SECONDS:.0f} s")

    def stop(self) -> None:
        """Drain the node, and end it if it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            # It does not drain in time, or the person is tired of waiting.
            process.kill()
            process.wait()

    def _environment(self) -> dict[str, str]:
        """The caller's environment, without what would reconfigure the node."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("WAYPOST_")}
        return kept | {"WAYPOST_OPERATOR_TOKEN": self.target.token or "", "NO_COLOR": "1"}

    def _failed(self, what: str) -> CliError:
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()
        last = "\n".join(said.splitlines()[-20:])
        return CliError(
            f"{what}. It said:\n{last}" if last else f"{what} and said nothing",
            fix="`waypost doctor` shows what this host lacks",
        )


def free_port(wanted: int, *, avoid: int = 0) -> int:
    """``wanted`` when it is free on the loopback, else any free port."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
            if found != avoid:
                return found
    raise CliError("found no free port on 127.0.0.1")
