"""``waypost scripts versions`` and ``rollback`` against a scripted control API."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.gateway.cli.conftest import ScriptedApi

SCRIPT = "/client/v4/accounts/platform/workers/dispatch/namespaces/production/scripts/hello"
Waypost = Callable[..., Result]


@pytest.fixture
def deployed(api: ScriptedApi) -> ScriptedApi:
    made = {"metadata": {"created_on": "2026-01-02T03:04:05Z"}}
    found = [{"id": version, **made} for version in ("cccc-3", "bbbb-2", "bbbb-1")]
    shares = [
        {"versions": [{"version_id": version, "percentage": 100}]}
        for version in ("cccc-3", "cccc-3", "bbbb-2", "bbbb-1")
    ]
    api.says(f"GET {SCRIPT}/versions", {"success": True, "result": {"items": found}})
    api.says(f"GET {SCRIPT}/deployments", {"success": True, "result": {"deployments": shares}})
    api.says(f"POST {SCRIPT}/deployments", {"success": True, "result": {"id": "d"}})
    return api


def test_versions_are_listed_with_what_serves(waypost: Waypost, deployed: ScriptedApi) -> None:
    lines = waypost("scripts", "versions", "hello", "--api", deployed.url).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", "cccc-3", "bbbb-2", "bbbb-1"]
    assert "100 %" in lines[1]
    assert "100 %" not in lines[2]


@pytest.mark.parametrize(("named", "back_to"), [((), "bbbb-2"), (("bbbb-1",), "bbbb-1")])
def test_rollback_deploys_what_served_before(
    waypost: Waypost, deployed: ScriptedApi, named: tuple[str, ...], back_to: str
) -> None:
    result = waypost("scripts", "rollback", "hello", *named, "--api", deployed.url)
    assert result.exit_code == 0, result.stderr
    assert back_to in result.stdout
    sent = json.loads(deployed.seen[-1].body)
    assert sent["versions"] == [{"version_id": back_to, "percentage": 100}]


@pytest.mark.parametrize("version", ["bbbb", "ddddd", "ccc"])
def test_a_version_that_is_none_or_several_is_refused(
    waypost: Waypost, deployed: ScriptedApi, version: str
) -> None:
    result = waypost("scripts", "rollback", "hello", version, "--api", deployed.url)
    assert result.exit_code == 2
    assert "waypost scripts versions" in result.stderr


def test_a_first_deployment_has_nothing_before_it(waypost: Waypost, deployed: ScriptedApi) -> None:
    only = [{"versions": [{"version_id": "cccc-3", "percentage": 100}]}]
    deployed.says(f"GET {SCRIPT}/deployments", {"success": True, "result": {"deployments": only}})
    result = waypost("scripts", "rollback", "hello", "--api", deployed.url)
    assert result.exit_code == 1
    assert "nothing else served hello" in result.stderr
