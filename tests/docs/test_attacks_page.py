"""The page of attacks is what the casebook says; its barriers are those of the security page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.ladder import LANDLOCK
from tests.isolation import seen
from tests.isolation.barriers import OWN_PROCESS, PAGE, barrier, write_page
from tests.isolation.casebook import read_cases

from .test_security_page import PAGE as SECURITY
from .test_security_page import rows

NAMES = {row[0].partition(",")[0].partition("`")[0].strip() for row in rows("The barriers")}
NAMES |= {row[0].partition(",")[0] for row in rows("The limits")} | {OWN_PROCESS}


def test_it_is_as_it_would_be_written_now() -> None:
    assert PAGE.read_text() == write_page(), "python -m tests.isolation.barriers writes it"


@pytest.mark.parametrize("level", ["full", LANDLOCK])
def test_what_stops_them_are_barriers_and_limits_of_the_security_page(level: str) -> None:
    for case in read_cases():
        outcomes = {barrier(case, level, outcome) for outcome in case.acceptable}
        assert {barrier(case, level), *outcomes} <= NAMES, case.id


def test_the_security_page_leads_there() -> None:
    assert re.search(r"\]\(attacks\.md\)", SECURITY)


def figures(ratio: float, only: str = "") -> dict[str, Any]:
    row = {
        "id": "c02_regex",
        "title": "",
        "barrier": "CPU of an invocation",
        "outcomes": ["killed_cpu"],
        "acceptable": True,
        "times": 24,
        "requests": 1300,
        "errors": [],
        "p99_ms": 2.0,
        "quiet_p99_ms": 1.5,
        "ratio": ratio,
    }
    rows = [row, row | {"id": "of_somebody_else"}]
    return {"machine": {}, "level": "full", "only": only, "errors_when_quiet": 0, "attacks": rows}


def test_what_was_seen_is_of_the_newest_full_run(tmp_path: Path) -> None:
    assert seen.lines(tmp_path / "kept") == []
    for time, found in (("1", figures(9.0)), ("2", figures(3.25)), ("3", figures(1.0, "c02"))):
        (tmp_path / f"abuse-user-2026010{time}-000000.json").write_text(json.dumps(found))
    taken = seen.take(tmp_path, tmp_path / "kept")
    assert [path.name for path in taken] == ["abuse-user-20260102-000000.json"]
    page = seen.lines(tmp_path / "kept")
    assert "| user | full | 1 | 24 | 1300 | 0 | none | c02_regex |" in page
    assert "| c02_regex | CPU of an invocation: killed_cpu, 24 times; 3.2 |" in page
    assert "| c04_sort | not tried |" in page
    assert not any("of_somebody_else" in line for line in page)
