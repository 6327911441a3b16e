"""Metrics: true counts, valid exposition, bounded numbers of series."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.model.invocation import Invocation
from gateway.model.script import ScriptKey
from gateway.telemetry.metrics import DEFINITIONS, REQUESTS, Metrics
from gateway.telemetry.series import MAX_RESULTS, Buckets
from sandbox import Outcome
from sandbox.payloads import ExceptionRecord, LogRecord

Build = Callable[..., Invocation]
LES = ("0.001", "0.0025", "30", "+Inf")
SHOP = {"namespace": "production", "tenant": "acme", "script": "acme-shop"}


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample as a Prometheus server reads it; a series that appears twice fails."""
    read: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in read
            read[key] = sample.value
    return read


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def test_an_invocation_is_counted_once_everywhere(build: Build) -> None:
    metrics = Metrics()
    metrics.invocation(build())
    metrics.invocation(
        build(
            outcome=Outcome.EXCEEDED_CPU,
            status=503,
            cold=True,
            subrequests=2,
            bytes_in=5,
            logs=[LogRecord("log", 1, ["héllo", {"a": 1}])],
            exceptions=[ExceptionRecord("cpu", "E", "m", "s", 1)],
        )
    )
    assert value(metrics, "waypost_requests_total", **SHOP, outcome="ok", status="200") == 1
    limit = {"outcome": "exceededCpu", "status": "503"}
    assert value(metrics, "waypost_requests_total", **SHOP, **limit) == 1
    expected = {
        "waypost_cpu_seconds_total": 0.002469134,
        "waypost_request_seconds_count": 2,
        "waypost_request_seconds_sum": 0.006,
        "waypost_queue_seconds_count": 2,
        "waypost_subrequests_total": 2,
        "waypost_cold_starts_total": 1,
        "waypost_request_bytes_total": 5,
        "waypost_response_bytes_total": 22,
        "waypost_exceptions_total": 1,
        "waypost_log_bytes_total": 6 + 7,
    }
    read = samples(metrics)
    for name, number in expected.items():
        assert read[name, frozenset(SHOP.items())] == number, name


def test_bounds_are_inclusive() -> None:
    buckets = Buckets((0.001, 0.01))
    for value_ns in (1, 1_000_000, 1_000_001, 10_000_000, 99_000_000):
        buckets.observe(value_ns)
    assert (buckets.bounds_text, buckets.counts) == (("0.001", "0.01", "+Inf"), [2, 2, 1])


def test_a_histogram_is_cumulative(build: Build) -> None:
    metrics = Metrics()
    for wall_ns in (1_000_000, 1_000_001, 60_000_000_000):
        metrics.invocation(build(wall_ns=wall_ns))
    rows = [value(metrics, "waypost_request_seconds_bucket", **SHOP, le=le) for le in LES]
    assert rows == [1.0, 2.0, 2.0, 3.0]


def test_a_request_that_led_nowhere_is_counted_by_code(build: Build) -> None:
    metrics = Metrics()
    metrics.invocation(build(script=None, code="hostname_not_configured", status=404))
    assert value(metrics, "waypost_refused_total", code="hostname_not_configured") == 1


def test_instances_come_and_go() -> None:
    metrics = Metrics()
    key = ScriptKey("production", "acme-shop")
    metrics.instance_started(key, "acme", 6_000_000)
    metrics.instance_started(key, "acme", 6_000_000)
    metrics.instance_stopped(key, "acme", "idle")
    assert value(metrics, "waypost_instances", **SHOP) == 1
    metrics.instance_stopped(key, "acme", "idle")
    metrics.instance_stopped(key, "acme", "idle")
    assert value(metrics, "waypost_instances", **SHOP) is None
    assert value(metrics, "waypost_instance_stops_total", reason="idle") == 3
    assert value(metrics, "waypost_instance_start_seconds_count") == 2


def test_scripts_beyond_the_limit_share_one_series(build: Build) -> None:
    metrics = Metrics(max_scripts=2)
    for number in range(5):
        metrics.invocation(build(script=f"s{number}"))
        metrics.instance_started(ScriptKey("production", f"s{number}"), "acme", 1)
    other = {"namespace": "_other", "tenant": "_other", "script": "_other"}
    assert value(metrics, "waypost_requests_total", **other, outcome="ok", status="200") == 3
    assert value(metrics, "waypost_instances", **other) == 3
    metrics.forget(ScriptKey("production", "s0"))
    metrics.invocation(build(script="s4"))
    mine = {**SHOP, "script": "s4"}
    assert value(metrics, "waypost_requests_total", **mine, outcome="ok", status="200") == 1


def test_a_forgotten_script_leaves_nothing(build: Build) -> None:
    metrics = Metrics()
    metrics.invocation(build())
    metrics.forget(ScriptKey("production", "acme-shop"))
    metrics.forget(ScriptKey("production", "acme-shop"))
    assert b"acme-shop" not in metrics.render()


@pytest.mark.parametrize("tenants", [False, True])
def test_what_was_under_way_when_its_script_went_brings_nothing_back(
    build: Build, tenants: bool
) -> None:
    metrics, key = Metrics(), ScriptKey("production", "acme-shop")
    metrics.websocket_opened(key, "acme")
    before = time.monotonic_ns()
    if tenants:
        metrics.forget_tenant("acme")
    else:
        metrics.forget(key)
    metrics.websocket_messages(key, "acme", 1, 1)
    metrics.websocket_closed(key, "acme")
    metrics.invocation(build(started_ns=before))
    assert b"acme-shop" not in metrics.render()
    # Another script of that name, later.
    metrics.invocation(build(started_ns=time.monotonic_ns()))
    assert value(metrics, "waypost_requests_total", **SHOP, outcome="ok", status="200") == 1


def test_the_same_name_in_two_namespaces_is_two_series(build: Build) -> None:
    metrics = Metrics()
    first, second = build(), build()
    assert second.route is not None
    second.route = type(second.route)(
        key=ScriptKey("staging", "acme-shop"),
        tenant="acme",
        version_id="v",
        plan="free",
        limits=second.route.limits,
        status=second.route.status,
    )
    metrics.invocation(first)
    metrics.invocation(second)
    assert len([key for key in samples(metrics) if key[0] == "waypost_requests_total"]) == 2


def test_a_tenant_cannot_multiply_series_with_statuses(build: Build) -> None:
    metrics = Metrics()
    for status in range(200, 600):
        metrics.invocation(build(status=status))
    rows = {key: count for key, count in samples(metrics).items() if key[0] == REQUESTS.name}
    assert len(rows) == MAX_RESULTS + 4
    assert sum(rows.values()) == 400
    assert value(metrics, "waypost_requests_total", **SHOP, outcome="ok", status="5xx") == 100


def test_a_reason_is_one_of_few() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.instance_stopped(ScriptKey("n", "s"), "t", f"why-{number}")
    assert value(metrics, "waypost_instance_stops_total", reason="_other") == 68


def test_hostile_label_values_stay_values(build: Build) -> None:
    metrics = Metrics()
    name = 'x"} 1\nwaypost_forged_total 1\n\\'
    metrics.invocation(build(script=name))
    assert value(metrics, "waypost_subrequests_total", **{**SHOP, "script": name}) == 0
    assert ("waypost_forged_total", frozenset()) not in samples(metrics)


def test_every_definition_is_exposed_under_its_name(build: Build) -> None:
    metrics = Metrics(insecure=True)
    metrics.invocation(build())
    metrics.invocation(build(cron="* * * * *"))
    metrics.invocation(build(script=None, code="c"))
    metrics.instance_started(ScriptKey("production", "acme-shop"), "acme", 1)
    metrics.instance_stopped(ScriptKey("production", "other"), "acme", "idle")
    metrics.handed_on("errand")
    read = samples(metrics)
    for definition in DEFINITIONS:
        suffix = "_count" if definition.type == "histogram" else ""
        found = [key for key in read if key[0] == definition.name + suffix]
        assert found, definition.name
        assert {name for name, _ in found[0][1]} == set(definition.labels)
    assert value(metrics, "waypost_sandbox_insecure") == 1
    assert value(metrics, "waypost_sandbox_level", level="none") == 1
    assert any(name == "process_cpu_seconds_total" for name, _ in read)


def test_the_call_of_a_schedule_is_no_request(build: Build) -> None:
    metrics = Metrics()
    metrics.invocation(build(cron="* * * * *", cpu_ns=2_000_000_000))
    assert value(metrics, "waypost_scheduled_runs_total", **SHOP, outcome="ok") == 1
    assert value(metrics, "waypost_cpu_seconds_total", **SHOP) == 2
    read = {name for name, _ in samples(metrics)}
    assert "waypost_requests_total" not in read
    assert value(metrics, "waypost_request_seconds_count", **SHOP) == 0


def test_a_scrape_in_another_thread_while_counting(build: Build) -> None:
    metrics = Metrics()
    failures: list[BaseException] = []
    done = threading.Event()

    def scrape() -> None:
        try:
            while not done.is_set():
                metrics.render()
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(3000):
        metrics.invocation(build(script=f"s{number % 500}", status=200 + number % 300))
    done.set()
    thread.join()
    assert not failures
