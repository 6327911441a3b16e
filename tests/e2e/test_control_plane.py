"""The control plane of a real node: its metrics, its directory, its tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.node import SCRIPTS, LiveNode
from tests.support.served import serve, wait_until

SOURCE = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response("here")
"""


@pytest.mark.parametrize("path", [f"{SCRIPTS}/gone", "/v1/tenants/gone"])
def test_what_is_deleted_leaves_the_metrics(node: LiveNode, path: str) -> None:
    node.deploy("gone", SOURCE)
    assert node.request("gone").text == "here"
    count = 'waypost_requests_total{namespace="production",tenant="gone"'
    wait_until(lambda: count in node.api.get("/metrics").text, 20)
    assert node.api.delete(path).is_success
    assert count not in node.api.get("/metrics").text


def test_a_second_node_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--json", "--data-dir", "data"]
    with serve(tmp_path / "data") as served:
        refused = subprocess.run(
            [*command, "--port", "0", "--api-port", "0"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert refused.returncode == 1
        said = json.loads(refused.stderr.splitlines()[-1])["error"]["message"]
        assert "another node (process" in said
        served.deploy("acme", SOURCE)
        assert served.get("acme").text == "here"


def test_a_token_for_one_script_deploys_it_and_no_other(node: LiveNode) -> None:
    node.api.put("/v1/tenants/bound").raise_for_status()
    body = {"script": "bound-shop", "label": "ci"}
    token = node.api.post("/v1/tenants/bound/tokens", json=body).json()["token"]
    files = {
        "metadata": (None, json.dumps({"main_module": "main.py"}), "application/json"),
        "main.py": ("main.py", SOURCE, "text/x-python"),
    }
    own = SCRIPTS.replace("platform", "bound")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=node.api.base_url, headers=headers, timeout=30) as client:
        assert client.put(f"{own}/bound-shop", files=files).status_code == 200
        assert client.put(f"{own}/bound-other", files=files).status_code == 403
    assert node.request("bound-shop").text == "here"
    actions = [
        (item["action"], item["status"])
        for item in node.api.get("/v1/audit", params={"tenant": "bound"}).json()["entries"]
    ]
    assert actions == [
        ("script.deploy", 403),
        ("script.deploy", 200),
        ("token.create", 201),
        ("tenant.put", 201),
    ]
