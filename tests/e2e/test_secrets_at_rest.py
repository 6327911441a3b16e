"""A planted secret, looked for in everything that a node writes and says."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx

from tests.support.node import SCRIPTS, LiveNode, live_node
from tests.support.served import launch, serve, wait_until_gone

PLANTED = "planted-77aa-canary-of-a-secret"
SOURCE = """
from workers import Response
async def on_fetch(request, env, ctx):
    if "broken" in request.url:
        raise ValueError(env)
    return Response(str(len(env.API_KEY)))
"""


def refusals(node: LiveNode) -> Iterator[httpx.Response]:
    """Every way to bring a secret that ends in an error."""
    secret = {"name": "API_KEY", "type": "secret_text", "text": PLANTED}
    secrets = f"{SCRIPTS}/acme/secrets"
    for wrong in ({"type": "secret_key"}, {"name": "a b"}, {"name": 5}, {"text": [PLANTED]}):
        yield node.api.put(secrets, json={**secret, **wrong})
        yield node.upload("acme", {"main.py": SOURCE}, bindings=[{**secret, **wrong}])
    yield node.api.put(secrets, content=f'{{"text": "{PLANTED}"'.encode())
    yield node.api.put(f"{SCRIPTS}/none/secrets", json=secret)
    bulk = f"{SCRIPTS}/acme/secrets-bulk"
    yield node.api.patch(bulk, json={"secrets": {"API KEY": {"text": PLANTED}}})
    yield node.api.patch(bulk, json={"secrets": {"API_KEY": PLANTED}})
    for broken in ("def f(:", "raise ValueError(open('/proc/self/environ').read())"):
        yield node.upload("acme", {"main.py": broken}, bindings=[secret])
    large = {"name": "LARGE", "type": "secret_text", "text": PLANTED * 10_000}
    yield node.upload("acme", {"main.py": SOURCE}, bindings=[large])


def test_a_secret_is_in_no_file_and_no_answer(tmp_path: Path) -> None:
    with live_node(tmp_path / "data") as node:
        node.deploy(
            "acme", SOURCE, bindings=[{"name": "API_KEY", "type": "plain_text", "text": ""}]
        )
        body = {"name": "API_KEY", "text": PLANTED, "type": "secret_text"}
        said = [node.api.put(f"{SCRIPTS}/acme/secrets", json=body)]
        assert said[0].status_code == 200
        assert node.request("acme").text == str(len(PLANTED))
        assert node.api.post("/v1/keys/rotate").json()["sealed"] == 1
        assert node.request("acme").text == str(len(PLANTED))
        paths = ("", "/content", "/settings", "/bindings", "/secrets", "/versions", "/deployments")
        said += [node.api.get(f"{SCRIPTS}/acme{path}") for path in paths]
        ours = ("/v1/keys", "/v1/scripts", "/v1/audit", "/v1/audit/export", "/metrics")
        said += [node.api.get(path) for path in ours]
        said += [node.api.get("/v1/audit/export", params={"format": "csv"})]
        assert [answer.status_code for answer in said] == [200] * len(said)
        refused = list(refusals(node))
        assert {answer.status_code // 100 for answer in refused} == {4}
        said += refused
        with node.tail("acme") as tail:
            broken = node.request("acme", "/broken")
            said.append(broken)
            assert (broken.status_code, PLANTED in str(tail.wait())) == (500, False)
        assert [answer.url for answer in said if PLANTED in answer.text] == []
        files = [path for path in (tmp_path / "data").iterdir() if path.is_file()]
        assert {"waypost.db", "waypost.db-wal", "secrets.key"} <= {path.name for path in files}
        assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []


def test_a_crash_leaves_no_secret_behind(tmp_path: Path) -> None:
    """Neither where dumps are off, as they are, nor in one where somebody turns them on."""
    with (tmp_path / "log").open("w") as log, launch(tmp_path / "data", (), stderr=log) as served:
        served.deploy("acme", SOURCE)
        headers = {"Authorization": f"Bearer {served.token}"}
        url = f"{served.facts['api']}{SCRIPTS}/acme/secrets"
        body = {"name": "API_KEY", "text": PLANTED}
        httpx.put(url, json=body, headers=headers).raise_for_status()
        assert served.get("acme").text == str(len(PLANTED))
        family = served.family() - {served.process.pid}  # the manager knows nothing
        for process in (Path(f"/proc/{pid}") for pid in family):
            (core,) = (
                line
                for line in (process / "limits").read_text().splitlines()
                if line.startswith("Max core file size")
            )
            assert core.split()[4:6] == ["0", "0"], process
        assert int(Path(f"/proc/{served.node}/coredump_filter").read_text(), 16) == 0
        node = served.node
        lift_limit_of_dumps(node)
        os.kill(node, signal.SIGSEGV)
        assert not wait_until_gone({node}, 60)
    # where the kernel writes a dump into the working directory, it is among them
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"log", "access.log", "waypost.db"} <= {path.name for path in files}
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []


def lift_limit_of_dumps(pid: int) -> None:
    """As whoever looks for the cause of a crash does; not everybody may."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with suppress(PermissionError):
        resource.prlimit(pid, resource.RLIMIT_CORE, unlimited)


def test_a_node_without_its_key_says_so_and_does_not_start(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.deploy("acme", SOURCE)
        headers = {"Authorization": f"Bearer {served.token}"}
        body = {"name": "API_KEY", "text": PLANTED}
        url = f"{served.facts['api']}{SCRIPTS}/acme/secrets"
        httpx.put(url, json=body, headers=headers).raise_for_status()
    (tmp_path / "data" / "secrets.key").unlink()
    command = [sys.executable, "-m", "gateway", "serve", "--json", "--data-dir", "data"]
    refused = subprocess.run(
        [*command, "--port", "0", "--api-port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 1
    assert "key file" in json.loads(refused.stderr.splitlines()[-1])["error"]["message"]
