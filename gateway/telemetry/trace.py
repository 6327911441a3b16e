"""An invocation as Cloudflare's TraceItem, the JSON that tails and tail consumers read.

Field names and meanings: workerd ``types/defines/trace.d.ts``. What is ours stands under
``waypost``.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from gateway.model.http import HeaderList
from gateway.model.invocation import Invocation
from gateway.model.script import Script
from gateway.model.websocket import Traffic
from gateway.telemetry.text import escape_controls

REDACTED: Final = "REDACTED"
_SECRET_NAMES: Final = frozenset({"cookie", "set-cookie"})
_SECRET_WORDS: Final = ("auth", "key", "secret", "token", "jwt", "password", "session")
_MAX_FALLBACK: Final = 8192


class _Request(msgspec.Struct):
    url: str
    method: str
    headers: dict[str, str]


class _Response(msgspec.Struct):
    status: int


class _FetchEvent(msgspec.Struct, omit_defaults=True):
    request: _Request
    response: _Response | None = None


class _ScheduledEvent(msgspec.Struct, rename="camel"):
    cron: str
    scheduled_time: int
    """Milliseconds since 1970."""


class _Notice(msgspec.Struct):
    """What clients of Cloudflare's know as a word of the platform's, not a request."""

    type: str
    message: str


class _Log(msgspec.Struct):
    timestamp: int
    level: str
    message: list[Any]


class _Exception(msgspec.Struct):
    timestamp: int
    name: str
    message: str
    stack: str


class _Version(msgspec.Struct):
    id: str


class _Deployment(msgspec.Struct, rename="camel"):
    tenant: str
    triggered_by: str
    message: str
    versions: dict[str, float]


class _Ours(msgspec.Struct, rename="camel"):
    ray: str
    tenant: str | None
    plan: str | None
    code: str
    fault: str
    cold: bool
    subrequests: int
    queue_ms: float
    websocket: Traffic | msgspec.UnsetType = msgspec.UNSET


class _TraceItem(msgspec.Struct, rename="camel", kw_only=True):
    event: _FetchEvent | _ScheduledEvent
    event_timestamp: int
    logs: list[_Log]
    exceptions: list[_Exception]
    diagnostics_channel_events: list[Any] = []
    script_name: str | None
    script_version: _Version | msgspec.UnsetType = msgspec.UNSET
    dispatch_namespace: str | msgspec.UnsetType = msgspec.UNSET
    outcome: str
    execution_model: str = "stateless"
    truncated: bool
    cpu_time: float
    """Milliseconds, to the microsecond."""
    wall_time: float
    waypost: _Ours


class _NoticeItem(msgspec.Struct, rename="camel", kw_only=True):
    """A notice in the shape of a TraceItem, so that every reader of those can show it."""

    event: _Notice
    event_timestamp: int
    logs: list[_Log] = []
    exceptions: list[_Exception] = []
    diagnostics_channel_events: list[Any] = []
    script_name: str | None = None
    script_version: _Version | msgspec.UnsetType = msgspec.UNSET
    dispatch_namespace: str | msgspec.UnsetType = msgspec.UNSET
    outcome: str = "ok"
    truncated: bool = False
    cpu_time: float = 0
    wall_time: float = 0
    waypost: _Deployment | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode


def trace_item(invocation: Invocation) -> bytes:
    """Write an invocation as one line of JSON. Never fails on what a tenant logged."""
    item = _item(invocation)
    try:
        document = _encode(item)
    except (TypeError, ValueError, RecursionError, OverflowError):
        # MessagePack can say more than JSON: extension types, odd mapping keys, any depth.
        item.logs = [_plain(log) for log in item.logs]
        document = _encode(item)
    return escape_controls(document)


def deployment_item(script: Script, why: str, message: str) -> bytes:
    """Write a new deployment: ``why`` is what triggered it, ``message`` what was said of it."""
    versions = {share.version_id: share.percentage for share in script.split}
    versions = versions or {script.version_id: 100}
    shown = " and ".join(f"version {name} at {share:g} %" for name, share in versions.items())
    told = f"Deployed by {why}: {shown}" + (f" ({message})" if message else "")
    now = _now_ms()
    level = "warn" if why == "rollback" else "info"
    return escape_controls(
        _encode(
            _NoticeItem(
                event=_Notice("deployment", told),
                event_timestamp=now,
                logs=[_Log(now, level, [told])],
                script_name=script.key.name,
                script_version=_Version(script.version_id),
                dispatch_namespace=script.key.namespace,
                waypost=_Deployment(script.tenant, why, message, versions),
            )
        )
    )


def overload_item(dropped: int) -> bytes:
    """Write that a listener has lost events because it reads too slowly."""
    told = f"This tail is read too slowly: {dropped} events were lost so far."
    return _encode(_NoticeItem(event=_Notice("overload", told), event_timestamp=_now_ms()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _item(invocation: Invocation) -> _TraceItem:
    request, route = invocation.request, invocation.route
    return _TraceItem(
        event=_event(invocation),
        event_timestamp=invocation.timestamp_ms,
        logs=[_Log(log.timestamp_ms, log.level, log.message) for log in invocation.logs],
        exceptions=[
            _Exception(error.timestamp_ms, error.name, error.message, error.stack)
            for error in invocation.exceptions
        ],
        script_name=route.key.name if route else None,
        script_version=_Version(route.version_id) if route else msgspec.UNSET,
        dispatch_namespace=route.key.namespace if route else msgspec.UNSET,
        outcome=invocation.outcome.value,
        truncated=invocation.truncated,
        cpu_time=_ms(invocation.cpu_ns),
        wall_time=_ms(invocation.wall_ns),
        waypost=_Ours(
            ray=request.ray,
            tenant=route.tenant if route else None,
            plan=route.plan if route else None,
            code=invocation.code,
            fault=invocation.fault,
            cold=invocation.cold,
            subrequests=invocation.subrequests,
            queue_ms=_ms(invocation.queue_ns),
            websocket=invocation.websocket or msgspec.UNSET,
        ),
    )


def _event(invocation: Invocation) -> _FetchEvent | _ScheduledEvent:
    request = invocation.request
    if request.scheduled is not None:
        return _ScheduledEvent(request.scheduled.cron, request.scheduled.time_ms)
    event = _FetchEvent(_Request(request.url, request.method, redacted(request.headers)))
    if invocation.status:
        event.response = _Response(invocation.status)
    return event


def redacted(headers: HeaderList) -> dict[str, str]:
    """Header fields by name, repeated ones joined, with the values of secrets replaced."""
    shown: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name in _SECRET_NAMES or any(word in name for word in _SECRET_WORDS):
            shown[name] = REDACTED
        else:
            value = raw_value.decode("latin-1")
            shown[name] = f"{shown[name]}, {value}" if name in shown else value
    return shown


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)


def _plain(log: _Log) -> _Log:
    return _Log(log.timestamp, log.level, [_plain_part(part) for part in log.message])


def _plain_part(part: Any) -> Any:
    if isinstance(part, str):
        return part
    try:
        return repr(part)[:_MAX_FALLBACK]
    except RecursionError:
        return f"<{type(part).__name__} nested too deeply>"
