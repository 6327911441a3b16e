"""The platform's log: fields, and text that cannot forge lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway.telemetry.logs import configure_logging

logger = logging.getLogger("gateway.example")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_records_carry_their_fields() -> None:
    stream = io.StringIO()
    configure_logging(True, stream=stream)
    logger.warning("instance gone", extra={"script": "acme", "why": object, "level": "forged"})
    record = json.loads(stream.getvalue())
    assert record["message"] == "instance gone"
    assert record["level"] == "warning"
    assert record["logger"] == "gateway.example"
    assert record["script"] == "acme"
    assert record["why"] == "<class 'object'>"


def test_json_tracebacks_stay_on_one_line() -> None:
    stream = io.StringIO()
    configure_logging(True, stream=stream)
    try:
        raise ValueError("no\u2028\x9b")
    except ValueError:
        logger.exception("failed")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not {"\u2028", "\x9b"} & set(text)
    assert "ValueError: no" in json.loads(text)["exception"]


def test_text_records_cannot_be_forged() -> None:
    stream = io.StringIO()
    configure_logging(False, stream=stream)
    logger.info("got %s", "a\n2026 ERROR x\x1b[2J", extra={"host": "a b\n", "n": 1})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert text.endswith("host='a b\\n' n=1\n")


def test_configured_twice_writes_once_and_hides_subrequest_urls() -> None:
    stream = io.StringIO()
    configure_logging(False, stream=io.StringIO())
    configure_logging(False, stream=stream)
    logging.getLogger("httpx").info("GET https://api.example/?token=s3cret")
    logging.getLogger("uvicorn.error").info("started")
    assert stream.getvalue().count("\n") == 1
    assert "started" in stream.getvalue()
