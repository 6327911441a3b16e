"""Memory that only the kernel's account shows is the tenant's too, and its end has a name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.config import Config
from tests.support.node import live_node

FILLER = """
from workers import Response
async def on_fetch(request, env, ctx):
    if request.url.endswith("/fill"):
        block = bytes(1 << 20)
        for number in range(20):
            with open(f"/tmp/{number}", "wb") as file:
                for _ in range(8):
                    file.write(block)
    return Response("ok")
"""


def small_memory_large_scratch(config: Config) -> Config:
    free = msgspec.structs.replace(
        config.plans["free"], memory_mb=64, scratch_mb=400, cpu_ms=5000, instances=1
    )
    return msgspec.structs.replace(config, plans={**config.plans, "free": free})


def test_files_in_scratch_count_and_the_kill_is_no_mystery(tmp_path: Path) -> None:
    with live_node(tmp_path / "data", small_memory_large_scratch) as node:
        if node.api.get("/readyz").json()["cgroups"] == "off":
            pytest.skip("the node may not make cgroups here")
        node.deploy("filler", FILLER)
        for _ in range(2):
            answer = node.request("filler", "/fill")
            assert (answer.status_code, answer.headers["waypost-outcome"]) == (
                503,
                "exceededMemory",
            )
            assert "64 MB" in answer.text
            assert node.request("filler").status_code == 200
