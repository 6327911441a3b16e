"""The PROXY protocol: trusted proxies say whose connection they pass on, nobody else does."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Config, Http, Routing
from gateway.edge.proxy_header import MAX_BYTES
from tests.support.fronts import BASE, Front, certificate, example, free_port, needs, running
from tests.support.node import LiveNode, live_node
from tests.support.raw import Answer, Wire, ask, wire
from tests.support.served import wait_until
from tests.support.sockets import upgrade

APP = """
import json

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["client"][0]})
        return
    assert scope["type"] == "http"
    found = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    about = {"client": list(scope["client"]), "scheme": scope["scheme"], "headers": found}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(about).encode()})
"""
PROXY, STRANGER = "127.0.0.1", "127.0.0.7"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 80\r\n"
V2 = SIGNATURE + struct.pack("!BBH", 0x21, 0x21, 36 + 5)
V2 += bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(16) + struct.pack("!HH", 51234, 443)
V2 += b"\x01\x00\x02h2"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNKNOWN = b"PROXY UNKNOWN\r\n"
REQUEST = f"GET / HTTP/1.1\r\nHost: acme.{BASE}\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n".encode()


def proxied(config: Config) -> Config:
    return msgspec.structs.replace(
        config,
        routing=Routing(base_domain=BASE, trusted_proxies=(f"{PROXY}/32", "198.51.100.0/24")),
        http=Http(proxy_protocol=True, head_seconds=3),
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("proxied"), proxied) as live:
        live.deploy("acme", APP)
        yield live


@pytest.fixture
def port(node: LiveNode) -> int:
    return node.started.tenant_port


def about(answer: Answer) -> tuple[Any, Any, Any]:
    assert answer.status == 200, answer.body
    said = answer.json
    assert said["headers"]["x-forwarded-for"] == said["client"][0]
    assert said["headers"]["x-forwarded-proto"] == said["scheme"]
    return (*said["client"], said["scheme"])


@pytest.mark.parametrize(
    ("header", "known"),
    [(V1, ("203.0.113.9", 51234, "http")), (V2, ("2001:db8::7", 51234, "https"))],
)
def test_the_client_is_the_one_that_the_proxy_names(
    port: int, header: bytes, known: tuple[str, int, str]
) -> None:
    with wire(port, PROXY) as connection:
        connection.send(header + REQUEST)
        assert about(connection.answer()) == known
        connection.send(REQUEST + REQUEST)
        assert about(connection.answer()) == about(connection.answer()) == known


@pytest.mark.parametrize("header", [V1, V2])
def test_a_header_that_comes_in_pieces_is_read(port: int, header: bytes) -> None:
    with wire(port, PROXY) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(header), 9):
            connection.send(header[at : at + 9])
        connection.send(REQUEST)
        assert about(connection.answer())[1] == 51234


@pytest.mark.parametrize("header", [LOCAL, UNKNOWN])
def test_a_proxy_that_names_nobody_is_the_client_and_its_claims_count_nothing(
    port: int, header: bytes
) -> None:
    with wire(port, PROXY) as connection:
        connection.send(header + REQUEST)
        client, _, scheme = about(connection.answer())
    assert (client, scheme) == (PROXY, "http")


def test_a_proxy_behind_the_proxy_is_believed_as_ever(port: int) -> None:
    header = b"PROXY TCP4 198.51.100.4 10.0.0.1 51234 80\r\n"
    assert about(ask(port, header + REQUEST))[0] == "6.6.6.6"


def test_a_trusted_proxy_without_a_header_is_refused(port: int) -> None:
    with wire(port, PROXY) as connection:
        connection.send(REQUEST + REQUEST)
        [answer] = connection.answers()
    assert (answer.status, answer.code) == (400, "bad_request")
    assert b"PROXY protocol" in answer.body


@pytest.mark.parametrize(
    "header",
    [
        V1.replace(b"\r\n", b"\n"),
        V1.replace(b"51234", b"65536"),
        V1.replace(b"TCP4", b"TCP6"),
        b"PROXY TCP4 " + b"1" * 200,
        SIGNATURE + b"\x11" + V2[13:],
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_BYTES) + bytes(MAX_BYTES),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ],
)
def test_a_malformed_header_is_refused_and_nothing_after_it_served(
    port: int, header: bytes
) -> None:
    with wire(port, PROXY) as connection:
        connection.send(header + REQUEST)
        [answer] = connection.answers()
    assert (answer.status, answer.code) == (400, "bad_request")


def test_a_second_header_is_no_request(port: int) -> None:
    with wire(port, PROXY) as connection:
        connection.send(V1 + V1 + REQUEST)
        [answer] = connection.answers()
    assert answer.status == 400


def test_a_header_that_stops_is_not_waited_for(port: int) -> None:
    connections = [Wire(port, PROXY) for _ in range(5)]
    try:
        for connection, start in zip(connections, (b"", V1[:20], V2[:20], V1, V2), strict=True):
            connection.send(start)
        assert all(connection.ended() for connection in connections)
    finally:
        for connection in connections:
            connection.close()


def test_a_connection_that_ends_within_its_header_is_closed(port: int) -> None:
    with wire(port, PROXY) as connection:
        connection.send(V2[:20])
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.ended()


@pytest.mark.parametrize("header", [V1, V2, LOCAL])
def test_from_anybody_else_no_header_is_read(port: int, header: bytes) -> None:
    with wire(port, STRANGER) as connection:
        connection.send(REQUEST)
        assert about(connection.answer())[0] == STRANGER
    with wire(port, STRANGER) as connection:
        connection.send(header + REQUEST)
        [answer] = connection.answers()
    assert answer.status == 400


def test_a_websocket_and_the_access_log_know_the_client(node: LiveNode, port: int) -> None:
    with wire(port, PROXY) as connection:
        shake = upgrade("acme").replace(b"acme.localhost", f"acme.{BASE}".encode())
        connection.send(V1.replace(b".9 ", b".77 ") + shake)
        found = b""
        while b"203.0.113.77" not in found:
            piece = connection.socket.recv(4096)
            assert piece, found
            found += piece
    log = node.node.data_dir / "access.log"

    def written() -> bool:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return any(line["client"] == "203.0.113.77" and line["status"] == 101 for line in lines)

    wait_until(written)


def test_the_control_api_reads_no_header(node: LiveNode) -> None:
    assert node.api.get("/healthz").status_code == 200
    assert ask(node.started.api_port, V1 + REQUEST).status == 400


# Real proxies


@contextmanager
def haproxy(node: LiveNode, directory: Path) -> Iterator[Front]:
    program, port = needs("haproxy"), free_port()
    both = directory / "both.pem"
    both.write_text("".join(file.read_text() for file in certificate(directory)))
    changes = {
        "127.0.0.1:8787": f"127.0.0.1:{node.started.tenant_port}",
        "bind :443": f"bind 127.0.0.1:{port}",
        f"/etc/ssl/{BASE}.both.pem": str(both),
    }
    config = directory / "haproxy.cfg"
    config.write_text(example("haproxy.cfg", changes))
    with running([program, "-db", "-f", str(config)], port):
        yield Front(node, port)


@contextmanager
def nginx_stream(node: LiveNode, directory: Path) -> Iterator[Front]:
    program, port = needs("nginx"), free_port()
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if not module.exists():
        pytest.skip("nginx has no stream module")
    found, key = certificate(directory)
    changes = {
        "127.0.0.1:8787": f"127.0.0.1:{node.started.tenant_port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        f"/etc/ssl/{BASE}.pem": str(found),
        f"/etc/ssl/{BASE}.key": str(key),
    }
    config = directory / "nginx.conf"
    config.write_text(
        f"load_module {module};\ndaemon off;\npid {directory}/pid;\nerror_log stderr;\n"
        f"events {{}}\n{example('nginx-stream.conf', changes)}"
    )
    with running([program, "-p", str(directory), "-c", str(config), "-e", "stderr"], port):
        yield Front(node, port)


@pytest.mark.parametrize(
    ("start", "scheme"),
    [(haproxy, "https"), (nginx_stream, "http")],
    ids=["haproxy", "nginx-stream"],
)
def test_a_real_proxy_passes_clients_on(
    node: LiveNode, tmp_path: Path, start: Callable[..., Any], scheme: str
) -> None:
    with start(node, tmp_path) as front:
        front.source = STRANGER
        # nginx cannot say in version 1 that there was TLS; its port 443 would.
        for more in ({"headers": {"X-Forwarded-For": "6.6.6.6"}}, {"body": b"x" * 100_000}):
            status, said = front.ask(f"acme.{BASE}", "POST", **more)
            assert (status, said["client"][0], said["scheme"]) == (200, STRANGER, scheme)
