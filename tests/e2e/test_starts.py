"""A script whose instances die or do not start is started less and less often."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway.pool.turns import ALLOWED, FORGIVEN_A_SECOND
from tests.support.node import LiveNode

WHIM = """
import os
from workers import Response
if os.urandom(1)[0] < 64:
    raise RuntimeError("not this time")
async def on_fetch(request, env, ctx):
    if request.url.endswith("/exit"):
        os._exit(1)
    return Response("ok")
"""
"""Every fourth start fails."""
BACKOFF_SECONDS = 0.2
"""After the first failure; then twice as long after each."""


def deploy_until_it_starts(node: LiveNode) -> None:
    for _ in range(50):
        if node.upload("whim", {"main.py": WHIM}).status_code == 200:
            return
    raise AssertionError("none of 50 uploads started")


def end_instance(node: LiveNode) -> None:
    """End the one there is; after a start that failed it takes a while until there is one."""
    deadline = time.monotonic() + 60
    while (answer := node.request("whim", "/exit")).headers.get("waypost-code") == "backoff":
        assert time.monotonic() < deadline, "it is not started any more"
    assert answer.status_code == 500


def failing_start(node: LiveNode) -> float:
    """End the instance until its successor does not start; return when that was."""
    for _ in range(50):
        end_instance(node)
        before = time.monotonic()
        answer = node.request("whim")
        if answer.status_code != 200:
            assert "not this time" not in answer.text, "visitors are not told what code said"
            return before
    raise AssertionError("none of 50 starts failed")


def test_after_a_start_that_failed_the_next_waits(node: LiveNode) -> None:
    deploy_until_it_starts(node)
    answers: list[tuple[object, ...]] = []
    for _ in range(20):  # a machine may be so busy that the time is over before anybody asks
        failed_at = failing_start(node)
        while time.monotonic() < failed_at + BACKOFF_SECONDS:
            answer = node.request("whim")
            if time.monotonic() < failed_at + BACKOFF_SECONDS:
                names = ("waypost-outcome", "waypost-code", "retry-after")
                answers.append((answer.status_code, *map(answer.headers.get, names)))
        if len(answers) > 4:
            break
    assert answers
    assert set(answers) == {(503, "exception", "backoff", "1")}
    deadline = time.monotonic() + 60
    while node.request("whim").status_code != 200:
        assert time.monotonic() < deadline, "it is not started any more"


def test_the_tail_says_why_an_instance_did_not_start(node: LiveNode) -> None:
    deploy_until_it_starts(node)
    with node.tail("whim") as tail:
        failing_start(node)
        event = tail.find(lambda event: said(event) == "not this time")
    assert (event["outcome"], event["waypost"]["fault"]) == ("exception", "tenant")
    assert "main.py" in event["exceptions"][0]["stack"]


def said(event: dict[str, Any]) -> str:
    return "".join(error["message"] for error in event["exceptions"])


def test_a_start_that_takes_more_than_the_plan_has_names_the_limit(node: LiveNode) -> None:
    node.deploy("roomy-one", ROOMY, plan="enterprise")
    assert node.request("roomy-one").text == "ok"
    node.api.put("/v1/tenants/roomy", json={"plan": "free"}).raise_for_status()
    with node.tail("roomy-one") as tail:
        answer = node.request("roomy-one")
        [event] = tail.wait()
    assert (answer.status_code, answer.headers["waypost-outcome"]) == (503, "exceededMemory")
    assert "128 MB of memory" in answer.text
    assert (event["outcome"], event["waypost"]["fault"]) == ("exceededMemory", "limit")
    assert event["exceptions"][0]["name"] in ("MemoryError", "StartupLimit")


ROOMY = """
from workers import Response
KEPT = b"x" * (200 << 20)
async def on_fetch(request, env, ctx):
    return Response("ok")
"""
"""More than ``free`` has."""
MORTAL = """
import os
def on_fetch(request, env, ctx):
    if request.url.endswith("/exit"):
        os._exit(1)
"""
"""Serves one request at a time, so that each costs an instance."""
HONEST = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response("ok")
"""


def test_those_who_waited_for_one_that_died_get_another(node: LiveNode) -> None:
    node.deploy("mortal-one", MORTAL, plan="free", limits={"instances": 1})
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as visitors:
        answers = list(visitors.map(lambda _: node.request("mortal-one", "/exit"), range(8)))
    assert {answer.status_code for answer in answers} == {500}
    assert time.monotonic() - begun < 10


def test_a_tenant_whose_instances_keep_dying_is_slowed_and_others_are_not(node: LiveNode) -> None:
    node.deploy("crasher-one", MORTAL, plan="free")
    node.deploy("honest-one", HONEST, plan="free")
    requests = 110
    slowest = 0.0
    storm_begun = time.monotonic()
    with ThreadPoolExecutor(16) as visitors:
        storm = [visitors.submit(node.request, "crasher-one", "/exit") for _ in range(requests)]
        while not all(visit.done() for visit in storm):
            begun = time.monotonic()
            assert node.request("honest-one").text == "ok"
            slowest = max(slowest, time.monotonic() - begun)
    seconds = time.monotonic() - storm_begun
    outcomes = [visit.result() for visit in storm]
    assert {answer.headers["waypost-code"] for answer in outcomes} <= {"1101", "backoff"}
    died = sum(answer.status_code == 500 for answer in outcomes)
    assert died <= ALLOWED + (seconds + 1) * FORGIVEN_A_SECOND
    assert died < requests or seconds > 4
    assert slowest < 2
