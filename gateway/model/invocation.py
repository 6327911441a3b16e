"""What is known of one invocation when it is over: the value that observers receive."""

from __future__ import annotations

import msgspec

from gateway.model.http import Request
from gateway.model.route import Route
from gateway.model.websocket import Traffic
from sandbox import Outcome
from sandbox.payloads import ExceptionRecord, LogRecord


class Invocation(msgspec.Struct):
    """One event delivered to a script, filled in along the corridor, recorded once at its end."""

    request: Request
    timestamp_ms: int
    started_ns: int
    """Monotonic clock."""
    route: Route | None = None
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    """HTTP status that the client got; 0 when it got none."""
    code: str = ""
    """Stable code of the error page, empty on success."""
    fault: str = ""
    """``tenant``, ``limit``, ``platform`` or ``client``; empty on success."""
    cpu_ns: int = 0
    wall_ns: int = 0
    queue_ns: int = 0
    """Waited for its turn, a permit and an instance."""
    in_turn: bool = False
    """It had to wait for its tenant's turn: more had come at once than the gateway could serve."""
    cold: bool = False
    """This request waited for an instance to start."""
    subrequests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    logs: list[LogRecord] = []
    exceptions: list[ExceptionRecord] = []
    truncated: bool = False
    """Logs were cut at their limit."""
    websocket: Traffic | None = None
    """Of an invocation that became a WebSocket."""
