"""``waypost audit`` and ``waypost audit export`` against a scripted control API."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

from starlette.responses import Response
from typer.testing import Result

from tests.gateway.cli.conftest import ScriptedApi

Waypost = Callable[..., Result]
LINES = b'{"number": 1}\n{"number": 2}\n'


def test_filters_are_asked_for(waypost: Waypost, api: ScriptedApi) -> None:
    api.says("GET /v1/audit", {"entries": [{"number": 7, "target": "acme"}], "before": None})
    given = ("--tenant", "acme", "--since", "2030-01-01", "--json", "--api", api.url)
    result = waypost("audit", *given)
    assert json.loads(result.stdout) == [{"number": 7, "target": "acme"}]
    assert api.seen[-1].query == {"tenant": "acme", "since": "2030-01-01", "limit": "50"}


def test_an_export_goes_where_it_is_to_go(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    api.answers["GET /v1/audit/export"] = lambda request, body: Response(LINES)
    result = waypost("audit", "export", "--api", api.url)
    assert (result.exit_code, result.stdout_bytes) == (0, LINES)
    assert api.seen[-1].query == {"format": "jsonl"}
    file = tmp_path / "audit.csv"
    given = ("--format", "csv", "--action", "key.rotate", "--output", str(file), "--api", api.url)
    result = waypost("audit", "export", *given)
    assert (result.exit_code, file.read_bytes()) == (0, LINES)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert api.seen[-1].query == {"format": "csv", "action": "key.rotate"}
    refused = waypost("audit", "export", *given)
    assert (refused.exit_code, "exists" in refused.stderr) == (2, True)


def test_a_refusal_is_told_and_leaves_no_file(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    api.says("GET /v1/audit/export", {"error": {"code": "not_allowed", "message": "no"}}, 403)
    file = tmp_path / "audit.jsonl"
    result = waypost("audit", "export", "--output", str(file), "--api", api.url)
    assert (result.exit_code, file.exists()) == (1, False)
    assert "no" in result.stderr


def test_options_in_the_wrong_place_are_not_lost(waypost: Waypost, api: ScriptedApi) -> None:
    result = waypost("audit", "--tenant", "acme", "export", "--api", api.url)
    assert (result.exit_code, api.seen) == (2, [])
    assert "after" in result.stderr
