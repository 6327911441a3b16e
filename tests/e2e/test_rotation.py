"""A fresh zygote takes over while visitors are served: none of them notices."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from gateway.config import Config
from tests.support.node import live_node

SEED = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response(str(hash("a string")))
"""
"""Answers differ between zygotes, whose instances share a hash seed."""


def rotating(config: Config) -> Config:
    sandbox = msgspec.structs.replace(config.sandbox, zygote_rotation_seconds=1)
    return msgspec.structs.replace(config, sandbox=sandbox)


def test_instances_are_replaced_and_nobody_notices(tmp_path: Path) -> None:
    with live_node(tmp_path / "data", rotating) as node:
        node.deploy("seed", SEED)
        seen: set[str] = set()
        deadline = time.monotonic() + 60
        while len(seen) < 3:
            answer = node.request("seed")
            assert answer.status_code == 200, answer.text
            seen.add(answer.text)
            assert time.monotonic() < deadline, "it is served by the first zygote for ever"
