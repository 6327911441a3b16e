"""A script whose instances die or do not start is started less and less often."""

from __future__ import annotations

import time

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


def failing_start(node: LiveNode) -> float:
    """End the instance until its successor does not start; return when that was."""
    for _ in range(50):
        assert node.request("whim", "/exit").status_code == 500
        before = time.monotonic()
        answer = node.request("whim")
        if answer.status_code != 200:
            assert "not this time" not in answer.text, "visitors are not told what code said"
            return before
    raise AssertionError("none of 50 starts failed")


def test_after_a_start_that_failed_the_next_waits(node: LiveNode) -> None:
    deploy_until_it_starts(node)
    failed_at = failing_start(node)
    answers = []
    while time.monotonic() < failed_at + BACKOFF_SECONDS:
        answer = node.request("whim")
        if time.monotonic() < failed_at + BACKOFF_SECONDS:
            answers.append((answer.status_code, answer.headers.get("waypost-outcome")))
    assert len(answers) > 4
    assert set(answers) == {(500, "exception")}
    deadline = time.monotonic() + 30
    while node.request("whim").status_code != 200:
        assert time.monotonic() < deadline, "it is not started any more"
