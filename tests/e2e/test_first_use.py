"""The first request of an instance also has what loading left of the start-up budget, for what
packages build at their first use; a script's own loops have their plan's CPU time, as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from gateway.config import Config
from tests.support.node import LiveNode, live_node

STARTUP_MS = 600
PLAN_MS = 10
"""Of the free plan, which is the default."""
WORKER = """
import vendored
built = []

async def on_fetch(request, env, ctx):
    if "own" in request.url:
        while True:
            built.append(0), built.pop()
    if "again" in request.url or not built:
        vendored.burn(60 if "endless" not in request.url else 60_000)
    built.append(1)
    return "built"
"""
VENDORED = """
import time
def burn(ms):
    end = time.process_time() + ms / 1000
    while time.process_time() < end:
        pass
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node with a small start-up budget."""

    def change(config: Config) -> Config:
        return msgspec.structs.replace(
            config, runtime=msgspec.structs.replace(config.runtime, startup_cpu_ms=STARTUP_MS)
        )

    with live_node(tmp_path_factory.mktemp("node"), change) as live:
        yield live


def deploy(node: LiveNode, name: str) -> None:
    modules: dict[str, str | bytes] = {
        "main.py": WORKER,
        "python_modules/vendored/__init__.py": VENDORED,
    }
    assert node.upload(name, modules).status_code == 200


def ask(node: LiveNode, name: str, *paths: str) -> list[tuple[int, float]]:
    """Status and CPU milliseconds of requests, one after the other."""
    with node.tail(name) as tail:
        statuses = [node.request(name, path).status_code for path in paths]
        return [
            (status, event["cpuTime"])
            for status, event in zip(statuses, tail.wait(len(paths)), strict=True)
        ]


def until(node: LiveNode, name: str, path: str, enough: Callable[[int, float], bool]) -> float:
    """CPU milliseconds of the first request that is as it should be.

    Each is the first of a fresh instance: those before it failed. A gateway that has no core for
    so long that the hard limit is passed, too, cannot hear that an instance asks.
    """
    for _ in range(10):
        ((status, ms),) = ask(node, name, path)
        if enough(status, ms):
            return ms
        assert status == 503
    raise AssertionError("none of ten requests was as it should be")


def test_what_a_package_builds_once_is_built_by_the_first_request(node: LiveNode) -> None:
    deploy(node, "builds")
    assert until(node, "builds", "/", lambda status, _: status == 200) >= 60
    ((status, ms),) = ask(node, "builds", "/")
    assert status == 200
    assert ms < 60


def test_it_is_the_first_request_alone_that_has_it(node: LiveNode) -> None:
    deploy(node, "again")
    until(node, "again", "/", lambda status, _: status == 200)
    ((status, ms),) = ask(node, "again", "/again")
    assert status == 503
    assert ms >= PLAN_MS


def test_it_is_what_loading_left_and_no_more(node: LiveNode) -> None:
    deploy(node, "endless")
    ms = until(node, "endless", "/endless", lambda _, ms: ms > STARTUP_MS / 2)
    assert ms < 2 * STARTUP_MS


def test_a_scripts_own_loop_ends_at_its_plans_limit(node: LiveNode) -> None:
    deploy(node, "own")
    answers = ask(node, "own", *["/own"] * 5)
    assert {status for status, _ in answers} == {503}
    assert all(PLAN_MS <= ms < STARTUP_MS / 2 for _, ms in answers), answers
