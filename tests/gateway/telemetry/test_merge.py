"""Metrics of several processes on one page: counts are summed, and stay when a process is gone."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from gateway.model.invocation import Invocation
from gateway.model.script import ScriptKey
from gateway.telemetry.merge import Merged
from gateway.telemetry.metrics import Metrics

Build = Callable[..., Invocation]
SHOP = {"namespace": "production", "tenant": "acme", "script": "acme-shop"}
KEY = ScriptKey("production", "acme-shop")


def samples(page: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample as a Prometheus server reads it; a series that appears twice fails."""
    read: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in read
            read[key] = sample.value
    return read


def node(build: Build, requests: int) -> bytes:
    metrics = Metrics()
    metrics.instance_started(KEY, "acme", 4_000_000)
    for _ in range(requests):
        metrics.invocation(build())
    return metrics.render()


def merged(*pages: bytes) -> Merged:
    page = Merged()
    for process, text in enumerate(pages):
        page.add(text, process=process)
    return page


def test_one_process_is_written_as_it_was(build: Build) -> None:
    text = node(build, 3)
    ours = {name: value for name, value in samples(text).items() if "process_" not in name[0]}
    page = samples(merged(text).render())
    assert {name: page[name] for name in ours} == ours


def test_counters_histograms_and_instances_are_summed(build: Build) -> None:
    page = samples(merged(node(build, 3), node(build, 4)).render())
    ok = frozenset({**SHOP, "outcome": "ok", "status": "200"}.items())
    assert page["waypost_requests_total", ok] == 7
    assert page["waypost_request_seconds_count", frozenset(SHOP.items())] == 7
    everything = frozenset({**SHOP, "le": "+Inf"}.items())
    assert page["waypost_request_seconds_bucket", everything] == 7
    assert page["waypost_instances", frozenset(SHOP.items())] == 2
    assert page["waypost_instance_start_seconds_count", frozenset()] == 2


def test_what_says_what_runs_is_not_summed(build: Build) -> None:
    page = samples(merged(node(build, 1), node(build, 1)).render())
    assert [value for (name, _), value in page.items() if name == "waypost_build_info"] == [1]
    assert page["waypost_sandbox_insecure", frozenset()] == 0


def test_the_systems_view_is_kept_for_each_process(build: Build) -> None:
    page = samples(merged(node(build, 1), node(build, 1)).render())
    for process in ("0", "1"):
        labels = frozenset({("process", process)})
        assert page["process_resident_memory_bytes", labels] > 0


def test_of_a_process_that_is_gone_only_counts_stay(build: Build) -> None:
    page = merged(node(build, 3))
    page.add_counts(merged(node(build, 4)))
    read = samples(page.render())
    assert read["waypost_request_seconds_count", frozenset(SHOP.items())] == 7
    assert read["waypost_instances", frozenset(SHOP.items())] == 1


def test_a_script_that_is_gone_is_forgotten_and_no_other(build: Build) -> None:
    page = merged(node(build, 3))
    copy = page.copy()
    page.forget('namespace="production"', 'script="acme-other"')
    assert page.render() == copy.render()
    page.forget('namespace="production"', 'script="acme-shop"')
    assert "acme-shop" not in page.render().decode()
    assert "acme-shop" in copy.render().decode()


def test_labels_may_hold_anything() -> None:
    text = '# HELP a_total A.\n# TYPE a_total counter\na_total{l="x } 1 \\" \u2028"} 2\n'.encode()
    assert merged(text, text).render() == text.replace(b"} 2", b"} 4")
