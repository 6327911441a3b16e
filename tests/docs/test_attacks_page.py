"""The page of attacks is what the casebook says; its barriers are those of the security page."""

from __future__ import annotations

import re

import pytest

from sandbox.ladder import LANDLOCK
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
