"""A deployment that fails is undone by the platform, once, and it is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config import Config, Rollback
from tests.support.node import SCRIPTS, LiveNode, live_node

GOOD = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response("good")
"""
BAD = "async def on_fetch(request, env, ctx):\n    raise ValueError('broken')\n"


def watching(config: Config) -> Config:
    return replace(config, rollback=Rollback(error_percent=30, requests=10, seconds=60))


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    folder: Path = tmp_path_factory.mktemp("careful")
    with live_node(folder / "data", watching) as node:
        yield node


def newest(node: LiveNode, name: str) -> dict[str, Any]:
    found: dict[str, Any] = node.api.get(f"{SCRIPTS}/{name}/deployments").json()["result"]
    first: dict[str, Any] = found["deployments"][0]
    return first


def ask_until(node: LiveNode, name: str, status: int) -> int:
    """Requests it took."""
    deadline = time.monotonic() + 60
    for number in range(1, 500):
        if node.request(name).status_code == status:
            return number
        assert time.monotonic() < deadline
    raise AssertionError("never")


def test_a_deployment_that_fails_is_undone_and_told(careful: LiveNode) -> None:
    good = careful.deploy("wobbly", GOOD)["deployment_id"]
    assert [careful.request("wobbly").status_code for _ in range(5)] == [200] * 5
    bad = careful.deploy("wobbly", BAD)["deployment_id"]
    with careful.tail("wobbly", "?deployments=true") as tail, careful.tail("wobbly") as plain:
        asked = ask_until(careful, "wobbly", 200)
        assert asked > 9
        told = next(item for item in tail.wait(asked + 1) if "message" in item["event"])
        assert all("request" in item["event"] for item in plain.wait(asked))
    assert told["event"]["message"].startswith(f"Deployed by rollback: version {good} at 100 %")
    assert "requests failed" in told["waypost"]["message"]
    back = newest(careful, "wobbly")
    assert back["versions"] == [{"version_id": good, "percentage": 100}]
    assert back["annotations"]["workers/triggered_by"] == "rollback"
    assert "requests failed" in back["annotations"]["workers/message"]
    query = {"action": "script.rollback", "tenant": "wobbly"}
    deadline = time.monotonic() + 60
    while not (found := careful.api.get("/v1/audit", params=query).json()["entries"]):
        assert time.monotonic() < deadline
    (entry,) = found
    assert (entry["actor"], entry["target"]) == ("platform", "production/wobbly")
    assert (entry["before"]["version"], entry["after"]["version"]) == (bad, good)


def test_what_failed_before_as_well_stays(careful: LiveNode) -> None:
    careful.deploy("always", BAD)
    assert {careful.request("always").status_code for _ in range(20)} == {500}
    second = careful.deploy("always", BAD + "\n")["deployment_id"]
    assert {careful.request("always").status_code for _ in range(40)} == {500}
    assert newest(careful, "always")["versions"][0]["version_id"] == second


def test_a_first_deployment_has_nothing_to_go_back_to(careful: LiveNode) -> None:
    only = careful.deploy("alone", BAD)["deployment_id"]
    assert {careful.request("alone").status_code for _ in range(30)} == {500}
    assert newest(careful, "alone")["versions"][0]["version_id"] == only


def test_off_by_default(node: LiveNode) -> None:
    node.deploy("unwatched", GOOD)
    assert node.request("unwatched").status_code == 200
    bad = node.deploy("unwatched", BAD)["deployment_id"]
    assert {node.request("unwatched").status_code for _ in range(40)} == {500}
    assert newest(node, "unwatched")["versions"][0]["version_id"] == bad
