"""Requests of an instance also have what loading left of the start-up budget, for what packages
build at the first use of a path; a script's own loops have their plan's CPU time, as ever."""

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
built = set()

async def on_fetch(request, env, ctx):
    if "own" in request.url:
        while True:
            built.add(0), built.pop()
    if "again" in request.url or request.url not in built:
        vendored.burn(60 if "endless" not in request.url else 60_000)
    built.add(request.url)
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
    # One instance: what a path has had is known to its own.
    assert node.upload(name, modules, limits={"instances": 1}).status_code == 200


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


def test_each_path_has_it_once(node: LiveNode) -> None:
    deploy(node, "again")

    def build_all() -> list[tuple[int, float]]:
        return ask(node, "again", "/", "/page", "/again", "/again")

    # One that fails takes its instance along: until none but the last, which asks again, does.
    for _ in range(10):
        *built, (status, ms) = build_all()
        if all(status == 200 and ms >= 60 for status, ms in built):
            break
    else:
        raise AssertionError(f"never was everything built: {built}")
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
