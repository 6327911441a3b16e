"""The command line against a real node, as its users type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.node import OPERATOR_TOKEN, LiveNode
from tests.support.served import descendants, wait_until_gone

pytest.importorskip("fastapi")
pytest.importorskip("flask")


def waypost(
    node: LiveNode, *arguments: str, cwd: Path, status: int = 0, token: str = OPERATOR_TOKEN
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "WAYPOST_API": str(node.api.base_url),
        "WAYPOST_TOKEN": token,
        "XDG_CONFIG_HOME": str(cwd),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("template", ["worker", "fastapi", "flask"])
def test_a_scaffold_deploys_and_answers(node: LiveNode, tmp_path: Path, template: str) -> None:
    name = f"made-{template}"
    node.api.put("/v1/tenants/made", json={"plan": "enterprise"}).raise_for_status()
    waypost(node, "init", name, "--template", template, cwd=tmp_path)
    done = waypost(node, "deploy", name, cwd=tmp_path)
    assert f"http://{name}.localhost:{node.started.tenant_port}" in done.stdout
    answer = node.request(name)
    assert answer.status_code == 200, answer.text


def test_a_syntax_error_is_shown_with_the_developers_own_line(
    node: LiveNode, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    done = waypost(node, "deploy", "broken.py", "--name", "broken", cwd=tmp_path, status=1)
    assert "broken.py:2" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_routes_tenants_scripts_and_plans_are_listed_as_json(
    node: LiveNode, tmp_path: Path
) -> None:
    waypost(node, "tenants", "add", "listed", "--plan", "pro", cwd=tmp_path)
    waypost(node, "init", "listed", cwd=tmp_path)
    waypost(node, "deploy", "listed", cwd=tmp_path)
    waypost(node, "routes", "add", "listed.example.org", "listed", cwd=tmp_path)
    assert node.client.get("/", headers={"Host": "listed.example.org"}).status_code == 200
    for command, expected in (
        (("routes", "list"), "listed.example.org"),
        (("tenants", "list"), "listed"),
        (("scripts", "list"), "listed"),
        (("plans",), "enterprise"),
    ):
        text = waypost(node, *command, "--json", cwd=tmp_path).stdout
        json.loads(text)
        assert expected in text
    waypost(node, "tenants", "suspend", "listed", cwd=tmp_path)
    assert node.request("listed").status_code == 403


def test_a_wrong_token_is_a_clear_error(node: LiveNode, tmp_path: Path) -> None:
    done = waypost(node, "tenants", "list", cwd=tmp_path, status=1, token="wp_wrong")
    assert "Traceback" not in done.stderr
    assert "token" in done.stderr.lower()


@pytest.mark.timeout(120)
def test_the_demo_shows_four_samples_and_ends_with_0(tmp_path: Path) -> None:
    said = tmp_path / "said"
    family: set[int] = set()
    command = [sys.executable, "-m", "gateway", "demo", "--exit"]
    with said.open("w") as out, subprocess.Popen(command, cwd=tmp_path, stdout=out) as demo:
        while demo.poll() is None:
            family |= descendants(demo.pid)
            time.sleep(0.05)
    assert demo.returncode == 0, said.read_text()
    for words in ("a Worker", "a FastAPI app", "a Flask app", "exceededCpu", "Hello, you!"):
        assert words in said.read_text()
    assert family, "nothing was started"
    assert not wait_until_gone(family, 60), "the demo left processes behind"
