"""TraceItem: its exact keys, what is redacted, and that no log can break or hijack it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model.invocation import Invocation
from gateway.telemetry.trace import redacted, trace_item
from sandbox import Outcome
from sandbox.payloads import ExceptionRecord, LogRecord

Build = Callable[..., Invocation]


def test_the_keys_are_cloudflares(build: Build) -> None:
    invocation = build(
        outcome=Outcome.EXCEPTION,
        status=500,
        code="1101",
        fault="tenant",
        truncated=True,
        cold=True,
        subrequests=2,
        logs=[LogRecord("warn", 5, ["a", 1, {"b": [None]}])],
        exceptions=[ExceptionRecord("exception", "ValueError", "no", "Traceback…", 6)],
    )
    assert json.loads(trace_item(invocation)) == {
        "event": {
            "request": {
                "url": "http://acme-shop.localhost:8787/cart?a=1",
                "method": "GET",
                "headers": {"accept": "*/*"},
            },
            "response": {"status": 500},
        },
        "eventTimestamp": 1_700_000_000_123,
        "logs": [{"timestamp": 5, "level": "warn", "message": ["a", 1, {"b": [None]}]}],
        "exceptions": [
            {"timestamp": 6, "name": "ValueError", "message": "no", "stack": "Traceback…"}
        ],
        "diagnosticsChannelEvents": [],
        "scriptName": "acme-shop",
        "scriptVersion": {"id": "v1"},
        "dispatchNamespace": "production",
        "outcome": "exception",
        "executionModel": "stateless",
        "truncated": True,
        "cpuTime": 1.235,
        "wallTime": 3.0,
        "waypost": {
            "ray": "ray-1",
            "tenant": "acme",
            "plan": "free",
            "code": "1101",
            "fault": "tenant",
            "cold": True,
            "subrequests": 2,
            "queueMs": 0.2,
        },
    }


def test_without_route_or_answer(build: Build) -> None:
    item = json.loads(trace_item(build(script=None, status=0)))
    assert item["scriptName"] is None
    assert item["event"].keys() == {"request"}
    assert not {"scriptVersion", "dispatchNamespace"} & item.keys()


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Cookie",
        "set-cookie",
        "x-api-key",
        "x-amz-security-token",
        "x-jwt",
        "x-auth",
    ],
)
def test_secret_headers_are_redacted(name: str) -> None:
    assert redacted([(name.encode(), b"s3cret")]) == {name.lower(): "REDACTED"}


def test_repeated_headers_are_joined() -> None:
    assert redacted([(b"a", b"1"), (b"A", b"2")]) == {"a": "1, 2"}


@pytest.mark.parametrize("control", ["\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2028"])
def test_a_log_cannot_move_a_terminals_cursor(build: Build, control: str) -> None:
    document = trace_item(build(logs=[LogRecord("log", 1, [f"a{control}b", {control: control}])]))
    assert control not in document.decode()
    assert json.loads(document)["logs"][0]["message"] == [f"a{control}b", {control: control}]


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "part",
    [
        msgspec.msgpack.Ext(5, b"x"),
        {(1, 2): 3},
        {b"k": b"v"},
        {None: 1, 1.5: 2, True: 3},
        b"\xff",
        float("nan"),
        float("inf"),
        2**64 - 1,
        deep(5000),
    ],
)
def test_what_json_cannot_say_is_shown_anyway(build: Build, part: object) -> None:
    item = json.loads(trace_item(build(logs=[LogRecord("log", 1, ["before", part])])))
    assert item["logs"][0]["message"][0] == "before"
    assert len(item["logs"][0]["message"]) == 2


MESSAGE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.lists(MESSAGE, max_size=3), url=st.binary(max_size=20), header=st.binary())
def test_any_log_and_request_gives_one_line_of_json(
    build: Build, message: list[Any], url: bytes, header: bytes
) -> None:
    invocation = build(logs=[LogRecord("log", 1, message)])
    invocation.request.path = url
    invocation.request.headers = [(b"x", header)]
    document = trace_item(invocation)
    assert b"\n" not in document
    assert json.loads(document)["event"]["request"]["headers"]["x"] == header.decode("latin-1")


def test_the_call_of_a_schedule_is_told_as_such(build: Build) -> None:
    item = json.loads(trace_item(build(cron="*/5 * * * *")))
    assert item["event"] == {"cron": "*/5 * * * *", "scheduledTime": 1_700_000_000_000}
    assert (item["outcome"], item["waypost"]["ray"]) == ("ok", "ray-1")
