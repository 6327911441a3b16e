"""What Prometheus scrapes: plain numbers, written in its text format (0.0.4) when asked for.

The per-script series do not go through prometheus-client, whose samples cost ten times as much to
count and to write; it serves what is measured of the process itself.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest

from gateway import __version__
from gateway.model.invocation import Invocation
from gateway.model.script import ScriptKey
from gateway.observer import Observer
from gateway.telemetry.series import LAG_BOUNDS, START_BOUNDS, Buckets, Series, status_label

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of :meth:`Metrics.render`."""
OTHER: Final = "_other"
"""Label of scripts beyond the number that is kept apart."""
_MAX_REASONS: Final = 32
_MAX_GONE: Final = 1000
"""Scripts and tenants that are remembered for what of them is still under way."""


class Definition(NamedTuple):
    """One metric: its name as scraped, type, meaning and labels."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


_SCRIPT: Final = ("namespace", "tenant", "script")

REQUESTS: Final = Definition(
    "waypost_requests_total",
    "counter",
    "Invocations that are over.",
    (*_SCRIPT, "outcome", "status"),
)
RUNS: Final = Definition(
    "waypost_scheduled_runs_total", "counter", "Calls of schedules.", (*_SCRIPT, "outcome")
)
CPU: Final = Definition("waypost_cpu_seconds_total", "counter", "CPU time of tenant code.", _SCRIPT)
WALL: Final = Definition(
    "waypost_request_seconds", "histogram", "Time from request to end of answer.", _SCRIPT
)
QUEUE: Final = Definition(
    "waypost_queue_seconds", "histogram", "Wait for a turn, a permit and an instance.", _SCRIPT
)
IN_TURN: Final = Definition(
    "waypost_turns_waited_total",
    "counter",
    "Requests that waited for their tenant's turn: more had come at once than could be served.",
    _SCRIPT,
)
SUBREQUESTS: Final = Definition(
    "waypost_subrequests_total", "counter", "Subrequests of tenant code.", _SCRIPT
)
COLD: Final = Definition(
    "waypost_cold_starts_total",
    "counter",
    "Requests that waited for an instance to start.",
    _SCRIPT,
)
BYTES_IN: Final = Definition(
    "waypost_request_bytes_total", "counter", "Bytes of request bodies.", _SCRIPT
)
BYTES_OUT: Final = Definition(
    "waypost_response_bytes_total", "counter", "Bytes of response bodies.", _SCRIPT
)
EXCEPTIONS: Final = Definition(
    "waypost_exceptions_total", "counter", "Uncaught exceptions of tenant code.", _SCRIPT
)
LOG_BYTES: Final = Definition(
    "waypost_log_bytes_total", "counter", "Bytes of text that tenant code logged.", _SCRIPT
)
INSTANCES: Final = Definition("waypost_instances", "gauge", "Instances that serve.", _SCRIPT)
SOCKETS: Final = Definition("waypost_websockets", "gauge", "Open WebSockets.", _SCRIPT)
MESSAGES: Final = Definition(
    "waypost_websocket_messages_total",
    "counter",
    "Messages of WebSockets, received from clients and sent to them.",
    (*_SCRIPT, "direction"),
)
LAG: Final = Definition(
    "waypost_loop_lag_seconds", "histogram", "How late the event loop does what is due."
)
STARTS: Final = Definition(
    "waypost_instance_start_seconds", "histogram", "Time to start an instance."
)
STOPS: Final = Definition(
    "waypost_instance_stops_total", "counter", "Instances that ended, by reason.", ("reason",)
)
REFUSED: Final = Definition(
    "waypost_refused_total", "counter", "Requests that led to no script.", ("code",)
)
HANDED: Final = Definition(
    "waypost_handed_on_total",
    "counter",
    "Requests that another process of the node serves: with their connection, or without.",
    ("how",),
)
INSECURE: Final = Definition(
    "waypost_sandbox_insecure", "gauge", "1 when tenant code runs without a jail."
)
LEVEL: Final = Definition(
    "waypost_sandbox_level", "gauge", "1 for the level that tenant code is jailed on.", ("level",)
)
BUILD: Final = Definition(
    "waypost_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python")
)
DEFINITIONS: Final = (
    REQUESTS, RUNS, CPU, WALL, QUEUE, IN_TURN, SUBREQUESTS, COLD, BYTES_IN, BYTES_OUT, EXCEPTIONS,
    LOG_BYTES, INSTANCES, SOCKETS, MESSAGES, LAG, STARTS, STOPS, REFUSED, HANDED, INSECURE, LEVEL,
    BUILD,
)  # fmt: skip
"""Every metric of this file; documentation is checked against it."""

_COUNTERS: Final[tuple[tuple[Definition, Callable[[Series], float]], ...]] = (
    (CPU, lambda series: series.cpu_ns / 1e9),
    (IN_TURN, lambda series: series.in_turn),
    (SUBREQUESTS, lambda series: series.subrequests),
    (COLD, lambda series: series.cold_starts),
    (BYTES_IN, lambda series: series.bytes_in),
    (BYTES_OUT, lambda series: series.bytes_out),
    (EXCEPTIONS, lambda series: series.exceptions),
    (LOG_BYTES, lambda series: series.log_bytes),
)
_HISTOGRAMS: Final[tuple[tuple[Definition, Callable[[Series], Buckets]], ...]] = (
    (WALL, lambda series: series.wall),
    (QUEUE, lambda series: series.queue),
)


class Metrics(Observer):
    """Counts invocations and instances per script, for at most ``max_scripts`` scripts.

    Written from the event loop only; ``render`` may run in another thread, where a scrape of many
    scripts does not hold up requests.
    """

    def __init__(self, *, insecure: bool = False, max_scripts: int = 10_000) -> None:
        self.level = "none"
        """Which rung of the sandbox's ladder the node is on."""
        self._insecure = insecure
        self._max_scripts = max_scripts
        self._series: dict[ScriptKey, Series] = {}
        self._other = Series(_labels(_SCRIPT, (OTHER, OTHER, OTHER)))
        self._instances: dict[ScriptKey, tuple[str, int]] = {}
        self._gone: dict[ScriptKey | str, int] = {}
        """When scripts and tenants went (monotonic, ns): what began before has no series."""
        self._starts = Buckets(START_BOUNDS)
        self._lag = Buckets(LAG_BOUNDS)
        self._stops: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._handed: dict[str, int] = {}
        self.registry = CollectorRegistry()
        """Other rooms may register collectors of their own."""
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def invocation(self, invocation: Invocation) -> None:
        """Count it for its script, or by its code when it led to none."""
        route = invocation.route
        if route is None:
            code = invocation.code
            self._refused[code] = self._refused.get(code, 0) + 1
            return
        if self._gone and self._went_after(invocation.started_ns, route.key, route.tenant):
            return
        series = self._series.get(route.key) or self._new_series(route.key, route.tenant)
        series.add(invocation)

    def handed_on(self, how: str) -> None:
        """Count a request that another process serves; ``how`` it goes there is one of few."""
        self._handed[how] = self._handed.get(how, 0) + 1

    def instance_started(self, key: ScriptKey, tenant: str, start_ns: int) -> None:
        """One more instance, and how long it took."""
        self._starts.observe(start_ns)
        self._instances[key] = (tenant, self._instances.get(key, ("", 0))[1] + 1)

    def instance_stopped(self, key: ScriptKey, tenant: str, why: str) -> None:
        """One instance less. Reasons beyond the first 32 count as ``_other``."""
        if why not in self._stops and len(self._stops) >= _MAX_REASONS:
            why = OTHER
        self._stops[why] = self._stops.get(why, 0) + 1
        count = self._instances.get(key, (tenant, 0))[1] - 1
        if count > 0:
            self._instances[key] = (tenant, count)
        else:
            self._instances.pop(key, None)

    def loop_lag(self, late_ns: int) -> None:
        """The event loop was so late."""
        self._lag.observe(late_ns)

    def websocket_opened(self, key: ScriptKey, tenant: str) -> None:
        """One more is open."""
        self._of(key, tenant).sockets += 1

    def websocket_closed(self, key: ScriptKey, tenant: str) -> None:
        """One less is open."""
        if key in self._series or not self._is_gone(key, tenant):
            series = self._series.get(key, self._other)
            series.sockets = max(0, series.sockets - 1)

    def websocket_messages(self, key: ScriptKey, tenant: str, received: int, sent: int) -> None:
        """So many more."""
        if key not in self._series and self._is_gone(key, tenant):
            return
        series = self._of(key, tenant)
        series.messages_in += received
        series.messages_out += sent

    def forget(self, key: ScriptKey) -> None:
        """A script is gone: its series end."""
        self._series.pop(key, None)
        self._note_gone(key)

    def forget_tenant(self, tenant: str) -> None:
        """A tenant is gone: the series of its scripts end."""
        mark = f",{_labels(('tenant',), (tenant,))},"
        for key in [key for key, series in self._series.items() if mark in series.labels]:
            del self._series[key]
        self._note_gone(tenant)

    def _note_gone(self, what: ScriptKey | str) -> None:
        self._gone.pop(what, None)
        if len(self._gone) >= _MAX_GONE:
            del self._gone[next(iter(self._gone))]
        self._gone[what] = time.monotonic_ns()

    def _is_gone(self, key: ScriptKey, tenant: str) -> bool:
        return key in self._gone or tenant in self._gone

    def _went_after(self, began_ns: int, key: ScriptKey, tenant: str) -> bool:
        return began_ns < max(self._gone.get(key, 0), self._gone.get(tenant, 0))

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return "".join(self._lines()).encode() + generate_latest(self.registry)

    def _lines(self) -> Iterator[str]:
        """Write the numbers down. Copies are taken first: the loop may count meanwhile."""
        every = [*self._series.copy().values(), self._other]
        if not self._other.used:
            every.pop()
        yield _head(REQUESTS)
        for series in every:
            yield from _results(series)
        yield _head(RUNS)
        for series in every:
            for outcome, count in series.runs.copy().items():
                own = f'outcome="{outcome.value}"'
                yield f"{RUNS.name}{{{series.labels},{own}}} {count}\n"
        for definition, value in _COUNTERS:
            yield _head(definition)
            for series in every:
                yield f"{definition.name}{{{series.labels}}} {value(series)}\n"
        for definition, buckets in _HISTOGRAMS:
            yield _head(definition)
            for series in every:
                yield _histogram(definition.name, series.labels, buckets(series))
        yield from _sockets(every)
        yield from self._of_node()

    def _of(self, key: ScriptKey, tenant: str) -> Series:
        return self._series.get(key) or self._new_series(key, tenant)

    def _new_series(self, key: ScriptKey, tenant: str) -> Series:
        if len(self._series) >= self._max_scripts:
            return self._other
        series = self._series[key] = Series(_script_labels(key, tenant))
        return series

    def _of_node(self) -> Iterator[str]:
        yield _head(INSTANCES)
        for labels, count in self._instance_counts().items():
            yield f"{INSTANCES.name}{{{labels}}} {count}\n"
        yield _head(LAG) + _histogram(LAG.name, "", self._lag)
        yield _head(STARTS) + _histogram(STARTS.name, "", self._starts)
        by_value = ((STOPS, self._stops), (REFUSED, self._refused), (HANDED, self._handed))
        for definition, counts in by_value:
            yield _head(definition)
            for value, count in counts.copy().items():
                yield f"{definition.name}{{{_labels(definition.labels, (value,))}}} {count}\n"
        yield f"{_head(INSECURE)}{INSECURE.name} {int(self._insecure)}\n"
        yield f"{_head(LEVEL)}{LEVEL.name}{{{_labels(LEVEL.labels, (self.level,))}}} 1\n"
        versions = _labels(BUILD.labels, (__version__, platform.python_version()))
        yield f"{_head(BUILD)}{BUILD.name}{{{versions}}} 1\n"

    def _instance_counts(self) -> dict[str, int]:
        """Scripts that run but are not kept apart are summed, so that the total stays true."""
        counts: dict[str, int] = {}
        for key, (tenant, count) in self._instances.copy().items():
            kept_apart = len(counts) < self._max_scripts
            labels = _script_labels(key, tenant) if kept_apart else self._other.labels
            counts[labels] = counts.get(labels, 0) + count
        for series in self._series.copy().values():
            counts.setdefault(series.labels, 0)
        return counts


def _script_labels(key: ScriptKey, tenant: str) -> str:
    return _labels(_SCRIPT, (key.namespace, tenant, key.name))


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Write labels as the text format wants them: backslash, quote and line feed escaped."""
    pairs = []
    for name, value in zip(names, values, strict=True):
        escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        pairs.append(f'{name}="{escaped}"')
    return ",".join(pairs)


def _head(definition: Definition) -> str:
    name = definition.name
    return f"# HELP {name} {definition.help}\n# TYPE {name} {definition.type}\n"


def _results(series: Series) -> Iterator[str]:
    for (outcome, status), count in series.results.copy().items():
        own = f'outcome="{outcome.value}",status="{status_label(status)}"'
        yield f"{REQUESTS.name}{{{series.labels},{own}}} {count}\n"


def _sockets(every: list[Series]) -> Iterator[str]:
    yield _head(SOCKETS)
    for series in every:
        yield f"{SOCKETS.name}{{{series.labels}}} {series.sockets}\n"
    yield _head(MESSAGES)
    for series in every:
        for direction, count in (("in", series.messages_in), ("out", series.messages_out)):
            labels = f'{series.labels},direction="{direction}"'
            yield f"{MESSAGES.name}{{{labels}}} {count}\n"


def _histogram(name: str, labels: str, buckets: Buckets) -> str:
    before = f"{name}_bucket{{{labels},le=" if labels else f"{name}_bucket{{le="
    total = 0
    lines = []
    for bound, count in zip(buckets.bounds_text, buckets.counts.copy(), strict=True):
        total += count
        lines.append(f'{before}"{bound}"}} {total}\n')
    own = f"{{{labels}}}" if labels else ""
    lines.append(f"{name}_count{own} {total}\n{name}_sum{own} {buckets.sum_ns / 1e9}\n")
    return "".join(lines)
