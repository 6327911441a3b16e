"""The plain numbers that metrics are made of; adding to them is all the hot path does."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from gateway.model.invocation import Invocation
from gateway.telemetry.text import log_bytes
from sandbox import Outcome

MAX_RESULTS: Final = 32
"""Pairs of outcome and status kept apart for one script; later ones count as ``2xx``, ``4xx``…"""


class Buckets:
    """A histogram over fixed upper bounds in nanoseconds; the last bucket has none."""

    __slots__ = ("bounds_ns", "bounds_text", "counts", "sum_ns")

    def __init__(self, bounds_seconds: Sequence[float]) -> None:
        self.bounds_ns = tuple(int(bound * 1e9) for bound in bounds_seconds)
        self.bounds_text = (*(f"{bound:g}" for bound in bounds_seconds), "+Inf")
        self.counts = [0] * (len(self.bounds_ns) + 1)
        self.sum_ns = 0

    def observe(self, value_ns: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds_ns, value_ns)] += 1
        self.sum_ns += value_ns


WALL_BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of request time, seconds."""
QUEUE_BOUNDS: Final = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of waiting time, seconds."""
LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of how late the event loop is, seconds."""
START_BOUNDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the start of an instance, seconds."""


class Series:
    """Everything counted for one script."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "cold_starts",
        "cpu_ns",
        "exceptions",
        "in_turn",
        "labels",
        "log_bytes",
        "messages_in",
        "messages_out",
        "queue",
        "results",
        "runs",
        "sockets",
        "subrequests",
        "wall",
    )

    def __init__(self, labels: str) -> None:
        self.labels = labels
        """Namespace, tenant and script, written as labels of the text format."""
        self.results: dict[tuple[Outcome, int], int] = {}
        self.runs: dict[Outcome, int] = {}
        """Calls of schedules."""
        self.wall = Buckets(WALL_BOUNDS)
        self.queue = Buckets(QUEUE_BOUNDS)
        self.cpu_ns = 0
        self.subrequests = 0
        self.cold_starts = 0
        self.in_turn = 0
        """Requests that had to wait for their tenant's turn."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.exceptions = 0
        self.log_bytes = 0
        self.sockets = 0
        """Open WebSockets."""
        self.messages_in = 0
        self.messages_out = 0

    @property
    def used(self) -> bool:
        """Anything was ever counted."""
        messages = self.messages_in or self.messages_out
        return bool(self.results or self.runs or messages or self.sockets)

    def add(self, invocation: Invocation) -> None:
        """Count one invocation."""
        if invocation.request.scheduled is None:
            result = (invocation.outcome, invocation.status)
            results = self.results
            if result in results:
                results[result] += 1
            else:
                self._add_result(result)
            if invocation.websocket is None:
                # How long a WebSocket was open says nothing of how long requests take.
                wall = self.wall
                value = invocation.wall_ns
                wall.counts[bisect_left(wall.bounds_ns, value)] += 1
                wall.sum_ns += value
            queue = self.queue
            value = invocation.queue_ns
            queue.counts[bisect_left(queue.bounds_ns, value)] += 1
            queue.sum_ns += value
        else:
            self._add_run(invocation.outcome)
        self.cpu_ns += invocation.cpu_ns
        self.subrequests += invocation.subrequests
        self.bytes_in += invocation.bytes_in
        self.bytes_out += invocation.bytes_out
        if invocation.cold:
            self.cold_starts += 1
        if invocation.in_turn:
            self.in_turn += 1
        if invocation.exceptions:
            self.exceptions += len(invocation.exceptions)
        if invocation.logs:
            self.log_bytes += log_bytes(invocation.logs)

    def _add_run(self, outcome: Outcome) -> None:
        """The call of a schedule is no request, and takes its own time."""
        self.runs[outcome] = self.runs.get(outcome, 0) + 1

    def _add_result(self, result: tuple[Outcome, int]) -> None:
        """A tenant may answer with every status there is; the number of series stays bounded."""
        if len(self.results) >= MAX_RESULTS:
            result = (result[0], result[1] // 100)
        self.results[result] = self.results.get(result, 0) + 1


def status_label(status: int) -> str:
    """The label of a status; what was folded into its class is shown as ``4xx``."""
    return f"{status}xx" if 0 < status < 10 else str(status)
