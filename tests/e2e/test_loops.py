"""Workers that fetch workers of the same platform reach them, and no loop is endless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from gateway.config import Config, Egress, Routing
from tests.support.node import LiveNode, live_node

LOOP = """
from workers import Response, WorkerEntrypoint, fetch

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        answer = await fetch(request.url)
        print(answer.status)
        return Response(await answer.text(), status=answer.status)
"""
ASK = """
from workers import Response, WorkerEntrypoint, fetch

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        forged = {"waypost-hops": "15", "x-forwarded-for": "6.6.6.6", "forwarded": "for=6.6.6.6"}
        try:
            answer = await fetch(
                request.headers["x-url"], method=request.method, headers=forged,
                body=request.body if request.method == "POST" else None,
            )
            return Response(answer.body, answer.status, headers=answer.headers)
        except OSError as error:
            return Response(f"{error.code}: {error}", 599)
"""
ECHO = """
import json
from workers import Response

async def on_fetch(request):
    body = await request.bytes()
    found = {"url": request.url, "method": request.method, "bytes": len(body)}
    return Response.json({**found, "headers": dict(request.headers)})
"""
STREAM = """
from workers import Response

async def on_fetch(request):
    async def chunks():
        for _ in range(40):
            yield b"x" * 65536
        if request.url.endswith("/broken"):
            raise ValueError
    return Response(chunks())
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("loops")) as live:
        live.deploy("loop", LOOP, plan="enterprise")
        live.deploy("ask", ASK, plan="enterprise")
        live.deploy("echo", ECHO)
        live.deploy("stream", STREAM)
        yield live


def ask(node: LiveNode, url: str, method: str = "GET", body: bytes = b"") -> httpx.Response:
    return node.request("ask", headers={"x-url": url}, method=method, content=body)


def test_a_worker_that_fetches_itself_is_told_508_after_16_hops(node: LiveNode) -> None:
    with node.tail("loop") as tail:
        answer = node.request("loop", headers={"accept": "application/json"})
        assert answer.status_code == 508
        assert "code: 1019" in answer.text
        events = tail.wait(17)
    # The seventeenth never ran, and says why; the others answered.
    assert sorted(event["outcome"] for event in events) == ["exception"] + ["ok"] * 16
    (refused,) = [event for event in events if event["outcome"] == "exception"]
    assert refused["logs"] == []


def test_loops_leave_nothing_behind(node: LiveNode) -> None:
    for _ in range(5):
        assert node.request("loop").status_code == 508
    assert ask(node, "http://echo.localhost/").status_code == 200


def test_a_client_cannot_pose_as_a_loop(node: LiveNode) -> None:
    for claim in ("16", "16.0123456789abcdef0123456789abcdef", "-1", "x"):
        answer = node.request("echo", headers={"Waypost-Hops": claim})
        assert answer.status_code == 200
        assert "waypost-hops" not in answer.json()["headers"]


def test_a_worker_reaches_another_as_any_client_would(node: LiveNode) -> None:
    seen = ask(node, "http://echo.localhost/a%2Fb?c=d", "POST", b"z" * 300_000).json()
    assert (seen["url"], seen["method"]) == ("http://echo.localhost/a%2Fb?c=d", "POST")
    assert seen["bytes"] == 300_000
    # What it claims of a client is its own word, and nobody's address takes its place.
    assert "6.6.6.6" not in str(seen["headers"])
    assert seen["headers"]["x-forwarded-for"] == ""
    assert "waypost-hops" not in seen["headers"]


def test_the_port_of_the_listener_leads_inside_and_others_do_not(node: LiveNode) -> None:
    port = node.started.tenant_port
    assert ask(node, f"http://echo.localhost:{port}/").status_code == 200
    refused = ask(node, f"http://echo.localhost:{node.started.api_port}/")
    assert refused.status_code == 599, refused.text
    # The addresses behind the names are as closed as before.
    assert ask(node, f"http://127.0.0.1:{port}/").text.startswith("egress_denied")


def test_an_answer_streams_through_two_workers(node: LiveNode) -> None:
    assert len(ask(node, "http://stream.localhost/").content) == 40 * 65536


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(node: LiveNode) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        ask(node, "http://stream.localhost/broken")


def test_a_hostname_that_is_not_the_platforms_own_is_left_to_name_resolution(
    node: LiveNode,
) -> None:
    """Whoever records a hostname here would else receive what others send to its owner."""
    hostname = "victim.example.invalid"
    node.api.put(f"/v1/routes/{hostname}", json={"script": "echo"}).raise_for_status()
    assert node.client.get("/", headers={"Host": hostname}).status_code == 200
    assert ask(node, f"http://{hostname}/").text.startswith("dns_failed")


def outward(config: Config) -> Config:
    return msgspec.structs.replace(
        config,
        egress=Egress(own_hostnames=False, allow=("127.0.0.0/8",)),
        routing=Routing(base_domain="apps.test", functions_domain="localhost"),
    )


def test_a_loop_through_the_network_ends_as_well(tmp_path: Path) -> None:
    """As through a front: the count travels in the request."""
    with live_node(tmp_path, outward) as node:
        node.deploy("acme-loop", LOOP, plan="enterprise")
        with node.tail("acme-loop") as tail:
            url = f"http://localhost:{node.started.tenant_port}/acme/loop"
            answer = node.client.get(url)
            assert (answer.status_code, "code: 1019" in answer.text) == (508, True)
            assert len(tail.wait(17)) == 17
