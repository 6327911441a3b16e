"""What ``wrangler tail`` can ask for, against invocations that have it and that have not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.model.invocation import Invocation
from gateway.telemetry.filters import Filters, TailFilter
from sandbox import Outcome
from sandbox.payloads import LogRecord

Build = Callable[..., Invocation]


def filters(*given: dict[str, Any], own: str = "203.0.113.9") -> Filters:
    return Filters(msgspec.convert(list(given), list[TailFilter]), own)


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ({}, True),
        ({"outcome": ["ok", "canceled"]}, True),
        ({"outcome": ["exception"]}, False),
        ({"outcome": []}, False),
        ({"method": ["get"]}, True),
        ({"method": ["POST", "PUT"]}, False),
        ({"header": {"key": "Accept"}}, True),
        ({"header": {"key": "accept", "query": "*/"}}, True),
        ({"header": {"key": "accept", "query": "html"}}, False),
        ({"header": {"key": "x-none"}}, False),
        ({"client_ip": ["192.0.2.1", "203.0.113.9"]}, True),
        ({"client_ip": ["self"]}, True),
        ({"client_ip": ["192.0.2.1"]}, False),
        ({"query": "order 7"}, True),
        ({"query": '"n":7'}, True),
        ({"query": "order 8"}, False),
        ({"scriptVersion": "v1"}, True),
        ({"scriptVersion": "v2"}, False),
        ({"sampling_rate": 1}, True),
        ({"sampling_rate": 0}, False),
        ({"method": ["GET"], "outcome": ["exception"]}, False),
    ],
)
def test_each_condition(build: Build, given: dict[str, Any], met: bool) -> None:
    log = LogRecord("log", 1, ["order 7", {"n": 7}, msgspec.msgpack.Ext(1, b"")])
    assert filters(given).matches(build(logs=[log])) is met


def test_all_of_them_have_to_be_met(build: Build) -> None:
    assert filters({"method": ["GET"]}, {"outcome": ["ok"]}).matches(build())
    assert not filters({"method": ["GET"]}, {"outcome": ["exception"]}).matches(build())


def test_outcomes_that_clients_have_no_word_for_are_unknown(build: Build) -> None:
    errors = {"outcome": ["exception", "exceededCpu", "exceededMemory", "unknown"]}
    for outcome in Outcome:
        shown = filters(errors).matches(build(outcome=outcome))
        assert shown is (outcome not in (Outcome.OK, Outcome.CANCELED)), outcome


def test_self_is_who_opened_the_tail(build: Build) -> None:
    assert not filters({"client_ip": ["self"]}, own="192.0.2.7").matches(build())


def test_deployments_are_told_unless_requests_are_chosen() -> None:
    assert filters({"sampling_rate": 0.1}, {"scriptVersion": "v1"}).news
    assert not filters({"method": ["GET"]}).news


@pytest.mark.parametrize(
    "given",
    [
        {"sampling_rate": 2},
        {"sampling_rate": -1},
        {"outcomes": ["ok"]},
        {"header": "x"},
        {"method": ["x" * 2000]},
        {"client_ip": ["::1"] * 101},
    ],
)
def test_what_is_no_filter_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        filters(given)
