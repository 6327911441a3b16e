"""The demo's tails: one live stream a script, all into one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.cli.client import ControlClient, segment
from gateway.cli.credentials import Target
from gateway.cli.events import SILENCE_SECONDS, parse_items
from gateway.cli.output import CliError

_CONNECT_SECONDS = 10.0


class Tails:
    """Follows several scripts in threads; they end with the node."""

    def __init__(self, target: Target, scripts: Sequence[str]) -> None:
        self._target = target
        self._items: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._connected = {script: threading.Event() for script in scripts}

    def start(self) -> None:
        """Connect every tail; returns when all are connected."""
        for script in self._connected:
            threading.Thread(target=self._follow, args=(script,), daemon=True).start()
        for script, connected in self._connected.items():
            if not connected.wait(_CONNECT_SECONDS):
                raise CliError(f"the tail of {script} did not open")

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next event; None when none came in time."""
        try:
            return self._items.get(timeout=seconds)
        except queue.Empty:
            return None

    def find(self, ray: str, seconds: float) -> dict[str, Any] | None:
        """The event of one request, by its ray; earlier others are dropped."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            item = self.next(left)
            ours = item.get("waypost") if item else None
            if isinstance(ours, dict) and ours.get("ray") == ray:
                return item
        return None

    def _follow(self, script: str) -> None:
        path = f"/v1/scripts/{segment(script)}/tail"
        try:
            with (
                ControlClient(self._target) as client,
                client.stream(path, silence_seconds=SILENCE_SECONDS) as lines,
            ):
                for item in parse_items(self._mark(script, lines), lambda _: None):
                    self._items.put(item)
        except CliError:
            return  # The node is gone; whoever waits sees the missing event.

    def _mark(self, script: str, lines: Iterator[str]) -> Iterator[str]:
        """Pass lines on; the first one says that the node has subscribed this tail."""
        for line in lines:
            self._connected[script].set()
            yield line
