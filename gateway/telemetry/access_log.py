"""The access log: one JSON line per request, written off the hot path."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Self

import msgspec

from gateway.model.invocation import Invocation
from gateway.model.websocket import Traffic
from gateway.observer import Observer
from gateway.telemetry.lines import DescriptorSink, FileSink, LineWriter
from gateway.telemetry.text import escape_controls
from sandbox import Outcome

_MAX_PATH: Final = 2048


class _Line(msgspec.Struct, rename="camel", gc=False):
    time: str
    ray: str
    method: str
    host: str
    path: str
    """Without the query, which may carry secrets."""
    status: int
    outcome: Outcome
    code: str
    fault: str
    tenant: str | None
    namespace: str | None
    script: str | None
    version: str | None
    plan: str | None
    cpu_ms: float
    wall_ms: float
    queue_ms: float
    bytes_in: int
    bytes_out: int
    subrequests: int
    cold: bool
    client: str | None
    websocket: Traffic | msgspec.UnsetType = msgspec.UNSET
    cron: str | msgspec.UnsetType = msgspec.UNSET
    """The schedule that called; there was no request then."""
    scheduled_time: int | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode


class AccessLog(Observer):
    """Writes a line for each invocation. What cannot be written is counted, not waited for."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer
        self._second = -1
        self._second_text = ""
        self._now_ms = -1
        self._now_text = ""

    @classmethod
    def to_file(cls, path: Path) -> Self:
        """Log to a file that only its owner may read, rotated at 64 MiB, three old ones kept."""
        return cls(LineWriter(FileSink(path), name=str(path)))

    @classmethod
    def to_stdout(cls) -> Self:
        """Log to standard output."""
        return cls(LineWriter(DescriptorSink(1), name="standard output"))

    @property
    def dropped(self) -> int:
        """Lines lost since the start, because the disk was full or too slow."""
        return self._writer.dropped

    def invocation(self, invocation: Invocation) -> None:
        """Queue one line."""
        request, route = invocation.request, invocation.route
        namespace, script = route.key if route else (None, None)
        client, now_ms = request.client, invocation.timestamp_ms
        line = _Line(
            self._now_text if now_ms == self._now_ms else self._time(now_ms),
            request.ray,
            request.method,
            request.host,
            request.path[:_MAX_PATH].decode("latin-1"),
            invocation.status,
            invocation.outcome,
            invocation.code,
            invocation.fault,
            route.tenant if route else None,
            namespace,
            script,
            route.version_id if route else None,
            route.plan if route else None,
            invocation.cpu_ns // 1000 / 1000,
            invocation.wall_ns // 1000 / 1000,
            invocation.queue_ns // 1000 / 1000,
            invocation.bytes_in,
            invocation.bytes_out,
            invocation.subrequests,
            invocation.cold,
            client[0] if client else None,
            invocation.websocket or msgspec.UNSET,
        )
        if request.scheduled is not None:
            line.cron, line.scheduled_time = request.scheduled.cron, request.scheduled.time_ms
        self._writer.write(escape_controls(_encode(line)))

    def flush(self) -> None:
        """Write what is queued; returns when it is written."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is queued and end; later lines are dropped."""
        self._writer.close()

    def _time(self, timestamp_ms: int) -> str:
        """RFC 3339 in UTC; what is the same for a second, and for a millisecond, is kept."""
        second, millisecond = divmod(timestamp_ms, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._now_ms, self._now_text = timestamp_ms, f"{self._second_text}.{millisecond:03d}Z"
        return self._now_text
