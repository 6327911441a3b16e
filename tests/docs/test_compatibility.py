"""The table of Cloudflare's calls says what the routes say, and the routes do what it says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.api.compatibility import MISSING, NOTES, PARTIAL, entries, page
from tests.docs.compatibility import PAGE
from tests.support.control import Control, control_plane

pytestmark = pytest.mark.anyio


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    async with control_plane(tmp_path) as plane:
        yield plane


async def test_the_page_is_made_from_the_routes(control: Control) -> None:
    assert page(control.app.routes) == PAGE.read_text(), "run python -m tests.docs.compatibility"


async def test_every_note_is_of_a_call(control: Control) -> None:
    partial = {(item.method, item.path) for item in entries(control.app.routes)
               if item.state == PARTIAL}  # fmt: skip
    assert partial == set(NOTES)


async def test_what_is_absent_says_so_and_nothing_else_does(control: Control) -> None:
    async with control.client() as client:
        for item in entries(control.app.routes):
            path = item.path.replace("{account}", "platform").replace("{namespace}", "production")
            path = re.sub(r"\{(\w+)(:path)?\}", "acme", path)
            answer = await client.request(item.method, path, content=b"{}")
            absent = "not available on this platform" in answer.text
            assert absent is (item.state == MISSING), item
            if absent:
                assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, 7003)
