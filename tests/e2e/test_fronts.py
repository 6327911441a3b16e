"""The fronts of the documentation, run for real: Caddy with certificates on demand, and nginx."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config, Routing
from tests.support.fronts import (
    BASE,
    EXAMPLES,
    Front,
    certificate,
    example,
    free_port,
    needs,
    running,
)
from tests.support.node import LiveNode, live_node

APP = """
import asyncio, json

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    async def say(*chunks, kind=b"text/plain"):
        # What nginx takes for an order to answer with something else.
        headers = [(b"content-type", kind), (b"x-accel-redirect", b"/elsewhere")]
        if cookie := dict(scope["headers"]).get(b"cookie"):
            headers.append((b"set-cookie", cookie[::-1]))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if scope["path"] == "/events":
        await say(b"data: 1\\n\\n", kind=b"text/event-stream")
        while (await receive())["type"] != "http.disconnect":
            pass
        print("left")
        return
    size = 0
    while (message := await receive()).get("more_body"):
        size += len(message["body"])
    size += len(message["body"])
    found = {name.decode(): value.decode() for name, value in scope["headers"]}
    about = {"scheme": scope["scheme"], "client": scope["client"][0], "size": size}
    await say(json.dumps({**about, "headers": found}).encode())
    await send({"type": "http.response.body", "body": b""})
"""


def with_front(config: Config) -> Config:
    routing = Routing(base_domain=BASE, trusted_proxies=("127.0.0.1/32",))
    return msgspec.structs.replace(config, routing=routing)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("fronts"), with_front) as node:
        node.deploy("acme", APP, plan="enterprise")
        node.api.put("/v1/routes/www.shop.test", json={"script": "acme"}).raise_for_status()
        yield node


@contextmanager
def caddy(node: LiveNode, directory: Path) -> Iterator[Front]:
    program, port = needs("caddy"), free_port()
    options = (
        f"{{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\tauto_https disable_redirects\n"
        f"\thttp_port {free_port()}\n\thttps_port {port}\n"
    )
    text = (EXAMPLES / "Caddyfile").read_text().replace("\n{\n", "\n" + options, 1)
    assert options in text
    (directory / "Caddyfile").write_text(text)
    command = [program, "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]
    addresses = {
        "WAYPOST_API": f"127.0.0.1:{node.started.api_port}",
        "WAYPOST_TENANTS": f"127.0.0.1:{node.started.tenant_port}",
    }
    home = {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with running(command, port, **addresses, **home):
        yield Front(node, port)


@contextmanager
def nginx(node: LiveNode, directory: Path) -> Iterator[Front]:
    program, port = needs("nginx"), free_port()
    found, key = certificate(directory)
    changes = {
        "127.0.0.1:8787": f"127.0.0.1:{node.started.tenant_port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        f"/etc/ssl/{BASE}.pem": str(found),
        f"/etc/ssl/{BASE}.key": str(key),
    }
    text = example("nginx.conf", changes)
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off;\npid {directory}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    with running([*command, "-e", "stderr"], port):
        yield Front(node, port)


@pytest.fixture(scope="module", params=[caddy, nginx], ids=["caddy", "nginx"])
def front(
    request: pytest.FixtureRequest, behind: LiveNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    with request.param(behind, tmp_path_factory.mktemp("front")) as started:
        yield started


def test_a_worker_is_reached_and_learns_who_asked(front: Front) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "Forwarded": "for=6.6.6.6"}
    status, about = front.ask(f"acme.{BASE}", headers=forged)
    assert status == 200
    assert (about["scheme"], about["client"]) == ("https", "127.0.0.1")
    assert about["headers"]["host"] == f"acme.{BASE}"
    assert about["headers"]["x-forwarded-host"] == f"acme.{BASE}"
    assert "6.6.6.6" not in str(about)


def test_bodies_pass_and_their_limit_is_the_plans(front: Front) -> None:
    status, about = front.ask(f"acme.{BASE}", "POST", body=b"x" * 3_000_000)
    assert (status, about["size"]) == (200, 3_000_000)


def test_large_cookies_pass_both_ways(front: Front) -> None:
    cookie = "a=" + "b" * 20_000
    connection = front.connect(f"acme.{BASE}")
    try:
        connection.request("GET", "/", headers={"Cookie": cookie})
        answer = connection.getresponse()
        assert json.loads(answer.read())["headers"]["cookie"] == cookie
        assert answer.getheader("set-cookie") == cookie[::-1]
    finally:
        connection.close()


def test_events_come_at_once_and_who_leaves_ends_the_request(front: Front) -> None:
    with front.node.tail("acme") as tail:
        connection = front.connect(f"acme.{BASE}")
        connection.request("GET", "/events")
        assert connection.getresponse().read(9) == b"data: 1\n\n"
        connection.close()
        (event,) = tail.wait()
    assert event["outcome"] == "canceled"
    assert [line["message"] for line in event["logs"]] == [["left"]]


def test_caddy_gets_certificates_for_hostnames_that_lead_somewhere(
    behind: LiveNode, tmp_path: Path
) -> None:
    with caddy(behind, tmp_path) as front:
        assert front.ask("www.shop.test")[0] == 200
        for stranger in ("stranger.test", f"nobody.{BASE}", f"a.acme.{BASE}"):
            with pytest.raises(ssl.SSLError):
                front.ask(stranger)


def test_what_a_front_may_ask(behind: LiveNode) -> None:
    def ask(domain: str) -> int:
        address = ("127.0.0.1", behind.started.api_port)
        connection = http.client.HTTPConnection(*address, timeout=20)
        try:
            connection.request("GET", f"/v1/tls/ask?domain={domain}")
            return connection.getresponse().status
        finally:
            connection.close()

    assert [ask(f"acme.{BASE}"), ask("www.shop.test"), ask("WWW.SHOP.TEST")] == [200, 200, 200]
    assert [ask(d) for d in (f"nobody.{BASE}", BASE, "", "127.0.0.1", "*.test")] == [404] * 5
    behind.api.delete("/v1/routes/www.shop.test").raise_for_status()
    assert ask("www.shop.test") == 404
    behind.api.put("/v1/routes/www.shop.test", json={"script": "acme"}).raise_for_status()
    assert ask("www.shop.test") == 200
