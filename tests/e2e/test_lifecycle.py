"""A node's life: first start, draining on SIGTERM, and nothing left behind, even by ``kill -9``."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.served import descendants, serve, wait_until_gone

QUICK = """
from workers import Response
async def on_fetch(request):
    return Response("finished")
"""
SLOW = """
import asyncio
from workers import Response
async def on_fetch(request):
    async def pieces():
        yield b"fin"
        await asyncio.sleep(1)
        yield b"ished"
    return Response(pieces())
"""


def test_the_first_start_creates_a_token_and_stores_only_its_hash(tmp_path: Path) -> None:
    data_dir = tmp_path / "state"
    with serve(data_dir) as first:
        assert first.token.startswith("wp_")
        first.deploy("hello", QUICK)
    for path in data_dir.iterdir():
        assert first.token.encode() not in path.read_bytes(), path.name
    assert (data_dir / "waypost.db").stat().st_mode & 0o077 == 0
    with sqlite3.connect(data_dir / "waypost.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with serve(data_dir) as second:
        assert second.token is None
        second.token = first.token
        assert second.get("hello").text == "finished"
        second.deploy("hello", QUICK)


def test_the_operators_token_can_be_preset(tmp_path: Path) -> None:
    with serve(tmp_path / "state", WAYPOST_OPERATOR_TOKEN="wp_preset-by-the-operator") as node:
        node.token = "wp_preset-by-the-operator"
        node.deploy("hello", QUICK)


def test_sigterm_lets_requests_finish_and_leaves_no_process(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as node:
        node.deploy("slow", SLOW)
        headers = {"Host": "slow.localhost"}
        with httpx.stream("GET", node.facts["tenants"], headers=headers, timeout=30) as answer:
            pieces = answer.iter_raw()
            text = next(pieces)
            family = node.family()
            assert len(family) >= 4, "gateway, keeper, zygote, instance"
            node.process.send_signal(signal.SIGTERM)
            text += b"".join(pieces)
        assert text == b"finished"
        assert node.process.wait(60) == 0
        # None of them is its child, and each has been told to end.
        assert not wait_until_gone(family, 60)


def test_kill_9_leaves_no_orphans(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as node:
        node.deploy("hello", QUICK)
        family = node.family()
        assert len(family) >= 4
        node.process.kill()
        assert not wait_until_gone(family, 60)
    with serve(tmp_path / "state") as again:
        assert again.get("hello").text == "finished"


def test_a_killed_zygote_is_replaced(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as node:
        node.deploy("hello", QUICK)
        keeper = next(iter(descendants(node.process.pid) - set()))
        os.kill(keeper, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while node.get("hello").status_code != 200:
            assert time.monotonic() < deadline, "no instance was started again"


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as node:
        port = httpx.URL(node.facts["tenants"]).port
        command = [sys.executable, "-m", "gateway", "serve", "--data-dir", str(tmp_path / "b")]
        done = subprocess.run(
            [*command, "--port", str(port), "--api-port", "0"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in " ".join(done.stderr.split())
    assert "--port" in done.stderr


def test_without_the_sandbox_the_node_says_so_loudly(tmp_path: Path) -> None:
    with serve(tmp_path / "state", "--insecure-no-sandbox") as node:
        assert node.facts["insecure"] is True
        metrics = httpx.get(f"{node.facts['api']}/metrics").text
        assert "waypost_sandbox_insecure 1" in metrics
        node.deploy("hello", QUICK)
        assert node.get("hello").text == "finished"


@pytest.mark.skipif(not Path("/proc/sys/user/max_user_namespaces").exists(), reason="no user ns")
def test_the_default_node_is_not_insecure(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as node:
        metrics = httpx.get(f"{node.facts['api']}/metrics").text
        assert "waypost_sandbox_insecure 0" in metrics
