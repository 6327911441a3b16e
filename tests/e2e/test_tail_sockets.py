"""Tails over WebSocket: what Cloudflare's clients open, from both ends of a real node."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gateway.api import tail_sockets
from gateway.telemetry import sessions, tail
from tests.support.node import OPERATOR_TOKEN, LiveNode
from tests.support.served import wait_until

SOURCE = """
from workers import Response
async def on_fetch(request, env, ctx):
    print("asked", request.url.partition("?")[2])
    if "boom" in request.url:
        raise ValueError("boom")
    return Response("x")
"""
LONG = "async def on_fetch(request, env, ctx):\n    print('x' * 200_000)\n"
ACCOUNT = "/client/v4/accounts/{account}/workers/scripts/{name}/tails"


def path(name: str, account: str = "platform") -> str:
    return ACCOUNT.format(account=account, name=name)


def create(node: LiveNode, name: str, *filters: dict[str, Any]) -> dict[str, Any]:
    answer = node.api.post(path(name), content=json.dumps({"filters": filters}))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


@contextmanager
def listen(node: LiveNode, url: str) -> Iterator[ClientConnection]:
    # Those who have hung up are noticed a moment later, and would be counted with the new one.
    wait_until(lambda: not node.node.tail.listeners)
    with connect(url, subprotocols=["trace-v1"], max_size=None) as opened:  # type: ignore[list-item]
        assert opened.subprotocol == "trace-v1"
        wait_until(lambda: node.node.tail.listeners > 0)
        yield opened


def heard(opened: ClientConnection) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(opened.recv(timeout=60))
    return item


def closed(opened: ClientConnection) -> tuple[int, str]:
    """How the node ended it, whatever it said before."""
    with suppress(ConnectionClosed):
        while True:
            opened.recv(timeout=60)
    assert opened.close_code is not None
    return opened.close_code, opened.close_reason or ""


def test_requests_logs_and_exceptions(node: LiveNode) -> None:
    node.deploy("tailed", SOURCE)
    node.deploy("untailed", SOURCE)
    made = create(node, "tailed")
    with listen(node, made["url"]) as opened:
        node.request("untailed")
        node.request("tailed", "/a?n=1")
        item = heard(opened)
        assert item["event"]["request"]["url"].endswith("/a?n=1")
        assert (item["scriptName"], item["outcome"]) == ("tailed", "ok")
        assert item["logs"][0]["message"] == ["asked n=1"]
        node.request("tailed", "/boom")
        item = heard(opened)
        assert item["outcome"] == "exception"
        assert item["exceptions"][0]["message"] == "boom"


def test_deployments_are_told(node: LiveNode) -> None:
    first = node.deploy("told", SOURCE)["deployment_id"]
    with listen(node, create(node, "told")["url"]) as opened:
        second = node.deploy("told", SOURCE)["deployment_id"]
        news = heard(opened)
        assert (news["event"]["type"], news["scriptVersion"]["id"]) == ("deployment", second)
        assert news["waypost"]["triggeredBy"] == "upload"
        shares = [{"version_id": first, "percentage": 100}]
        body = {"strategy": "percentage", "versions": shares, "annotations": {}}
        deployments = path("told").replace("tails", "deployments")
        node.api.post(deployments, json=body).raise_for_status()
        news = heard(opened)
        assert (news["waypost"]["triggeredBy"], news["logs"][0]["level"]) == ("rollback", "warn")


def test_filters_are_applied_by_the_node(node: LiveNode) -> None:
    node.deploy("chosen", SOURCE)
    wanted = ({"outcome": ["exception"]}, {"query": "asked"}, {"client_ip": ["self"]})
    with listen(node, create(node, "chosen", *wanted)["url"]) as opened:
        node.request("chosen")
        node.deploy("chosen", SOURCE)
        node.request("chosen", "/boom")
        assert heard(opened)["outcome"] == "exception"
    wrong: tuple[Any, ...] = ([{"color": "red"}], 5, [{}] * 21)
    for bad in wrong:
        body = json.dumps({"filters": bad})
        assert node.api.post(path("chosen"), content=body).status_code == 400
    assert node.api.post(path("chosen")).status_code == 200  # what SDKs send


def test_a_frame_without_its_mask_is_read_and_pings_are_answered(node: LiveNode) -> None:
    """wrangler's first message is not masked, against the RFC; its pings are."""
    node.deploy("unmasked", SOURCE)
    with listen(node, create(node, "unmasked")["url"]) as opened:
        said = b'{"debug":false}'
        opened.socket.sendall(bytes([0x81, len(said)]) + said)
        assert opened.ping("wrangler tail ping").wait(60)
        opened.send("masked")
        opened.socket.sendall(bytes([0x01, 1]) + b"a" + bytes([0x80, 1]) + b"b")
        node.request("unmasked")
        assert heard(opened)["outcome"] == "ok"


def test_a_visitors_frames_have_to_be_masked_still(node: LiveNode) -> None:
    """What the tails forgive is forgiven nowhere else."""
    source = (
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    while (await receive())['type'] != 'websocket.disconnect': pass\n"
    )
    node.deploy("strict", source)
    port = node.started.tenant_port
    with (
        socket.create_connection(("127.0.0.1", port)) as sock,
        connect(f"ws://strict.localhost:{port}/", sock=sock) as opened,
    ):
        opened.socket.sendall(bytes([0x81, 1]) + b"x")
        assert closed(opened)[0] == 1002


def test_only_who_knows_the_secret_may_listen(node: LiveNode) -> None:
    node.deploy("secretive", SOURCE)
    made, other = create(node, "secretive"), create(node, "secretive")
    bare = made["url"].partition("?")[0]
    secret = other["url"].partition("?")[2]
    for url in (bare, f"{bare}?secret=", f"{bare}?{secret}", bare.replace(made["id"], "0" * 32)):
        with pytest.raises(InvalidStatus) as refused, connect(url):
            pass
        assert refused.value.response.status_code == 404
    target = urlsplit(made["url"])
    answer = node.api.get(f"{target.path}?{target.query}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (426, 10026)
    with pytest.raises(InvalidStatus) as refused, connect(made["url"], subprotocols=["chat"]):  # type: ignore[list-item]
        pass
    assert refused.value.response.status_code == 400


def test_tails_belong_to_their_account_and_token(node: LiveNode) -> None:
    node.api.put("/v1/tenants/mine").raise_for_status()
    node.api.put("/v1/tenants/theirs").raise_for_status()
    node.deploy("mine-app", SOURCE)
    keys = {
        name: node.api.post(f"/v1/tenants/{slug}/tokens", json={"scope": scope}).json()["token"]
        for name, slug, scope in (
            ("tail", "mine", "tail"),
            ("other", "mine", "tail"),
            ("read", "mine", "read"),
            ("foreign", "theirs", "deploy"),
        )
    }

    def ask(name: str, method: str, suffix: str = "", account: str = "mine") -> Any:
        headers = {"Authorization": f"Bearer {keys[name]}"}
        url = path("mine-app", account) + suffix
        return node.api.request(method, url, headers=headers, content=b"")

    made = ask("tail", "POST").json()["result"]
    assert [item["url"] for item in ask("tail", "GET").json()["result"]] == [made["url"]]
    (seen,) = ask("other", "GET").json()["result"]
    assert seen == {**made, "url": made["url"].partition("?")[0]}
    for method, suffix in (("POST", ""), ("GET", ""), ("DELETE", f"/{made['id']}")):
        assert ask("read", method, suffix).status_code == 403
        assert ask("foreign", method, suffix).status_code == 403
        assert ask("foreign", method, suffix, "theirs").status_code == 404
    node.deploy("theirs-app", SOURCE)
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    elsewhere = node.api.delete(f"{path('theirs-app')}/{made['id']}", headers=headers)
    assert elsewhere.status_code == 404
    assert ask("tail", "DELETE", f"/{made['id']}").json()["success"]
    assert ask("tail", "DELETE", f"/{made['id']}").status_code == 404


def test_how_tails_end(node: LiveNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.deploy("ending", SOURCE)
    made = create(node, "ending")
    with listen(node, made["url"]) as opened:
        node.api.delete(f"{path('ending')}/{made['id']}").raise_for_status()
        assert closed(opened) == (1000, "the tail was deleted")
    body = {"scope": "tail"}
    issued = node.api.post("/v1/tenants/ending/tokens", json=body).json()
    headers = {"Authorization": f"Bearer {issued['token']}"}
    made = node.api.post(path("ending", "ending"), headers=headers).json()["result"]
    with listen(node, made["url"]) as opened:
        node.api.delete(f"/v1/tenants/ending/tokens/{issued['id']}").raise_for_status()
        assert closed(opened) == (1008, "the token of this tail was revoked")
    made = create(node, "ending")
    with listen(node, made["url"]) as opened:
        node.api.delete(path("ending").removesuffix("/tails")).raise_for_status()
        assert closed(opened) == (1000, "script ending was deleted")
    node.deploy("ending", SOURCE)
    made = create(node, "ending")
    with listen(node, made["url"]) as opened:
        node.api.delete("/v1/tenants/ending").raise_for_status()
        assert closed(opened) == (1000, "tenant ending was removed")
    node.deploy("ending", SOURCE)
    made = create(node, "ending")
    with listen(node, made["url"]) as opened, connect(made["url"]) as second:
        assert closed(opened) == (1001, "another client listens to this tail now")
        wait_until(lambda: node.node.tail.listeners == 1)
        node.request("ending")
        assert heard(second)["outcome"] == "ok"
    monkeypatch.setattr(sessions, "SECONDS", -1.0)
    # created in the past: over before anybody listens
    made = create(node, "ending")
    with pytest.raises(InvalidStatus), connect(made["url"]):
        pass
    wait_until(lambda: not node.node.tail.listeners)


def test_a_listener_that_talks_is_sent_away(node: LiveNode) -> None:
    node.deploy("talkative", SOURCE)
    with listen(node, create(node, "talkative")["url"]) as opened:
        for _ in range(tail_sockets.MAX_SAID):
            opened.send("x")
        assert closed(opened) == (1008, "a tail is for listening")


def test_a_slow_listener_is_told_what_it_lost_and_sent_away(
    node: LiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_QUEUED_BYTES", 1 << 20)
    monkeypatch.setattr(tail_sockets, "STALL_SECONDS", 1.0)
    node.deploy("flooding", LONG)
    made = create(node, "flooding")
    url = urlsplit(made["url"])
    with socket.create_connection((url.hostname or "", url.port or 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        wait_until(lambda: bool(node.node.tail.listeners))
        started = time.monotonic()
        while node.node.tail.listeners:
            assert time.monotonic() - started < 30
            node.request("flooding")
            assert node.node.tail.waiting <= 1 << 20
    assert node.node.tail.waiting == 0


def test_so_many_tails_and_no_more(node: LiveNode) -> None:
    node.deploy("crowded", SOURCE)
    made = [create(node, "crowded") for _ in range(sessions.MAX_PER_SCRIPT)]
    refused = node.api.post(path("crowded"))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 10035)
    node.api.delete(f"{path('crowded')}/{made[0]['id']}").raise_for_status()
    create(node, "crowded")
    listed = node.api.get(path("crowded")).json()["result"]
    assert len(listed) == sessions.MAX_PER_SCRIPT


def test_the_address_is_the_one_that_was_asked(node: LiveNode) -> None:
    node.deploy("addressed", SOURCE)
    for host, shown in (
        ("api.example.org", "ws://api.example.org/"),
        ("[::1]:8788", "ws://[::1]:8788/"),
        ('"><script>', f"ws://127.0.0.1:{node.started.api_port}/"),
    ):
        answer = node.api.post(path("addressed"), headers={"Host": host})
        assert answer.json()["result"]["url"].startswith(shown)


def test_the_tail_of_a_script_that_is_not_there(node: LiveNode) -> None:
    answer = node.api.post(path("nowhere"))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, 10007)
