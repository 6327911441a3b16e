"""Schedules at a real node: the handler runs in the jail, under the plan, and is told of."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

import pytest

from gateway.model.script import ScriptKey
from gateway.triggers.schedules import Scheduler
from tests.support.node import LiveNode, Tail
from tests.support.served import wait_until

T = TypeVar("T")
WORKER = "/client/v4/accounts/platform/workers/scripts"
SOURCE = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("asked")

    async def scheduled(self, controller, env, ctx):
        print("due", controller.cron, controller.scheduledTime)
        ctx.waitUntil(self.later())
        %s

    async def later(self):
        print("later")
"""
# Later than the node's own clock, which then finds each minute taken already: by far, because this
# is read when tests are collected, and many minutes of other tests may come before these.
_minutes = count(int(time.time()) // 60 + 10_000)


def schedule(node: LiveNode, name: str, *expressions: str) -> None:
    body = [{"cron": expression} for expression in expressions]
    node.api.put(f"{WORKER}/{name}/schedules", json=body).raise_for_status()


def scheduler_of(node: LiveNode) -> Scheduler:
    assert node.node.scheduler is not None
    return node.node.scheduler


def in_its_loop(scheduler: Scheduler, work: Coroutine[Any, Any, T]) -> T:
    assert scheduler._loop is not None
    return asyncio.run_coroutine_threadsafe(work, scheduler._loop.get_loop()).result(30)


@pytest.fixture(scope="module", autouse=True)
def clock(node: LiveNode) -> None:
    """The minutes that really pass meanwhile are taken before anything is scheduled."""
    scheduler = scheduler_of(node)
    assert in_its_loop(scheduler, scheduler._store.claim_minute(next(_minutes)))


def pass_a_minute(node: LiveNode) -> int:
    """Let the node come to the next minute; which one it is."""
    scheduler, minute = scheduler_of(node), next(_minutes)
    assert in_its_loop(scheduler, scheduler.run_minute(minute)) > 0
    return minute


def run(node: LiveNode, name: str, cron: str = "* * * * *") -> dict[str, Any]:
    answer = node.api.post(f"/v1/scripts/{name}/schedules/run", json={"cron": cron})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def told(tail: Tail) -> dict[str, Any]:
    """The one event of a tail."""
    (event,) = tail.wait()
    return event


def test_a_schedule_calls_its_script_and_is_told_of(node: LiveNode) -> None:
    version = node.deploy("timed", SOURCE % "pass")["deployment_id"]
    schedule(node, "timed", "* * * * *")
    with node.tail("timed") as tail:
        minute = pass_a_minute(node)
        event = told(tail)
    assert event["event"] == {"cron": "* * * * *", "scheduledTime": minute * 60_000}
    assert (event["outcome"], event["exceptions"]) == ("ok", [])
    assert [log["message"] for log in event["logs"]] == [
        [f"due * * * * * {minute * 60_000}"],
        ["later"],
    ]
    assert event["scriptVersion"]["id"] == version
    assert event["cpuTime"] > 0
    assert node.request("timed").text == "asked"

    labels = 'namespace="production",tenant="timed",script="timed"'
    asked = f'waypost_requests_total{{{labels},outcome="ok",status="200"}} 1\n'
    wait_until(lambda: asked in node.api.get("/metrics").text, 20)
    metrics = node.api.get("/metrics").text
    assert f'waypost_scheduled_runs_total{{{labels},outcome="ok"}} 1\n' in metrics
    assert 'script="timed",outcome="ok",status="204"' not in metrics

    def line() -> dict[str, Any] | None:
        lines = (node.node.data_dir / "access.log").read_text().splitlines()
        found = [json.loads(text) for text in lines]
        return next((one for one in found if one.get("cron") and one["script"] == "timed"), None)

    wait_until(lambda: line() is not None)
    logged = line()
    assert logged is not None
    assert (logged["cron"], logged["scheduledTime"]) == ("* * * * *", minute * 60_000)
    assert (logged["outcome"], logged["tenant"]) == ("ok", "timed")


@pytest.mark.parametrize(
    ("what", "outcome", "name"),
    [
        ("raise ValueError('no')", "exception", "ValueError"),
        ("while True: pass", "exceededCpu", "CpuLimitExceeded"),
        ("import os; os._exit(3)", "exception", "ProcessDied"),
    ],
)
def test_what_goes_wrong_has_its_name(node: LiveNode, what: str, outcome: str, name: str) -> None:
    node.deploy("wrong", SOURCE % what)
    schedule(node, "wrong", "* * * * *")
    with node.tail("wrong") as tail:
        pass_a_minute(node)
        event = told(tail)
    assert (event["outcome"], event["exceptions"][0]["name"]) == (outcome, name)
    assert event["waypost"]["fault"] in ("tenant", "limit")
    assert node.request("wrong").text == "asked"
    schedule(node, "wrong")


def test_an_application_without_a_handler_is_told_what_it_lacks(node: LiveNode) -> None:
    source = "def application(environ, start_response):\n    start_response('200 OK', [])\n"
    node.deploy("plain", source + "    return [b'asked']\n")
    ran = run(node, "plain")
    assert (ran["outcome"], ran["code"], ran["fault"]) == ("exception", "1101", "tenant")
    assert "on_scheduled(controller, env, ctx)" in ran["exceptions"][0]["message"]
    assert node.request("plain").text == "asked"
    node.deploy("plain", f"{source}    return []\ndef on_scheduled(event):\n    print(event.cron)")
    ran = run(node, "plain", "5 4 * * *")
    assert (ran["outcome"], ran["logs"][0]["message"]) == ("ok", ["5 4 * * *"])


def test_a_suspended_tenant_is_not_called(node: LiveNode) -> None:
    node.deploy("halted", SOURCE % "pass")
    node.api.put("/v1/tenants/halted", json={"status": "suspended"}).raise_for_status()
    ran = run(node, "halted")
    assert (ran["outcome"], ran["code"], ran["logs"]) == ("killSwitch", "suspended", [])


def test_what_is_left_out_is_told(node: LiveNode) -> None:
    node.deploy("slow", SOURCE % "pass")
    # As if its last call went on.
    scheduler_of(node)._running.add((ScriptKey("production", "slow"), "* * * * *"))
    with node.tail("slow") as tail:
        ran = run(node, "slow")
        event = told(tail)
    assert (ran["outcome"], ran["code"], ran["fault"]) == ("loadShed", "still_running", "tenant")
    assert (event["outcome"], event["event"]["cron"]) == ("loadShed", "* * * * *")
    assert run(node, "slow", "1 * * * *")["outcome"] == "ok"
