"""What a tenant sends to the outside arrives there as it was sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config
from tests.support.bundles import vendored
from tests.support.node import LiveNode, live_node


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_loopback(config: Config) -> Config:
    egress = msgspec.structs.replace(config.egress, allow=("127.0.0.1/32",))
    return msgspec.structs.replace(config, egress=egress)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(Path(tmp_path_factory.mktemp("node")), with_loopback) as live:
        yield live


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_a_body_arrives_whole(node: LiveNode, upstream: str, size: int) -> None:
    source = f"""
from workers import Response, fetch
async def on_fetch(request):
    answer = await fetch("{upstream}/", method="POST", body=b"x" * {size})
    return Response(await answer.bytes())
"""
    node.deploy(f"body{size}", source, plan="enterprise")
    assert node.request(f"body{size}").content == b"x" * size


def test_httpx_from_the_bundle_sends_subrequests(node: LiveNode, upstream: str) -> None:
    source = f"""
import httpx
from fastapi import FastAPI
app = FastAPI()

@app.get("/async")
async def asynchronous():
    async with httpx.AsyncClient() as client:
        return (await client.post("{upstream}/", json={{"a": 1}})).json()

@app.get("/sync")
def synchronous():
    return httpx.post("{upstream}/", json={{"a": 2}}).json()

@app.get("/many")
def many():
    return [httpx.post("{upstream}/").status_code for _ in range(4)]
"""
    packages = vendored("httpx", "httpcore", "h11", "certifi")
    node.api.put("/v1/tenants/client", json={"plan": "enterprise"}).raise_for_status()
    limits = {"subrequests": 3}
    answer = node.upload("client", {"main.py": source, **packages}, limits=limits)
    assert answer.status_code == 200, answer.text
    assert node.request("client", "/async").json() == {"a": 1}
    assert node.request("client", "/sync").json() == {"a": 2}
    with node.tail("client") as tail:
        assert node.request("client", "/many").status_code == 500
        assert "Too many subrequests" in tail.wait()[0]["exceptions"][0]["message"]
