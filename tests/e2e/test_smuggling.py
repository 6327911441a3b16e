"""Framing that a real proxy and the node may read apart: nobody gets another's answer."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Config, Routing
from tests.support.fronts import BASE, free_port, needs, running
from tests.support.node import LiveNode, live_node
from tests.support.raw import ask

ECHO = """
from workers import Response

async def on_fetch(request):
    return Response(f"{request.method} {request.url} {len(await request.text())}")
"""
HOST = f"Host: acme.{BASE}\r\n".encode()
POST = b"POST /attack HTTP/1.1\r\n" + HOST
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"X: "
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
SETTLE_SECONDS = 1.0
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream node {{ server 127.0.0.1:{node}; keepalive 2; }}
    underscores_in_headers on; ignore_invalid_headers off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffering off;
        }}
    }}
}}
"""
HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    http-reuse always
frontend front
    bind 127.0.0.1:{port}
    option accept-invalid-http-request
    default_backend back
backend back
    server node 127.0.0.1:{node}
"""
FRAMING = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 50\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 05\r\n",
    b"Content-Length: 5\x0b\r\n",
    b"Content_Length: 50\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked\t\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Connection: Content-Length\r\nContent-Length: 5\r\n",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\nContent-Length: 5\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n",
]
BODIES = [
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n",
    b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
    b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n",
    b"5\r\nhello\r\n0\r\nProxy-Connection: close\r\n\r\n",
    b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
]
ATTACKS = [POST + framing + b"\r\n" + CHUNKS + HIDDEN for framing in FRAMING]
ATTACKS += [POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + HIDDEN for body in BODIES]
ATTACKS += [
    b"GET /attack HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + HIDDEN,
    b"HEAD /attack HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    b"GET http://other.test/attack HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    b"GET /attack HTTP/1.1\r\n" + HOST + HOST + b"\r\n" + HIDDEN,
    b"GET /attack HTTP/1.1\r\nHost: a..b\r\n\r\n" + HIDDEN,
]


def with_front(config: Config) -> Config:
    routing = Routing(base_domain=BASE, trusted_proxies=("127.0.0.1/32",))
    return msgspec.structs.replace(config, routing=routing)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("smuggling"), with_front) as live:
        live.deploy("acme", ECHO, plan="enterprise")
        yield live


@contextmanager
def nginx(node: int, folder: Path) -> Iterator[int]:
    program, port = needs("nginx"), free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, node=node, port=port))
    with running([program, "-p", str(folder), "-c", str(config), "-e", "stderr"], port):
        yield port


@contextmanager
def haproxy(node: int, folder: Path) -> Iterator[int]:
    program, port = needs("haproxy"), free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(node=node, port=port))
    with running([program, "-db", "-f", str(config)], port):
        yield port


def settled(attackers: list[socket.socket]) -> None:
    """Wait until each was answered, as far as it ever is."""
    waiting, deadline = set(attackers), time.monotonic() + SETTLE_SECONDS
    while waiting and (left := deadline - time.monotonic()) > 0:
        waiting -= set(select.select(waiting, [], [], left)[0])


@pytest.mark.parametrize("front", [nginx, haproxy])
def test_nobody_gets_anothers_answer(
    node: LiveNode, tmp_path: Path, front: Callable[[int, Path], Any]
) -> None:
    with front(node.started.tenant_port, tmp_path) as port, ExitStack() as stack:

        def victims(count: int) -> None:
            for number in range(count):
                path = b"/victim/%d" % number
                answer = ask(port, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
                assert answer.status == 200
                assert answer.body == b"GET http://acme.%s%s 0" % (BASE.encode(), path)

        victims(4)
        attackers = []
        for attack in ATTACKS:
            attacker = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            attacker.sendall(attack)
            attackers.append(attacker)
            victims(1)
        settled(attackers)
        victims(8)
        stack.close()
        victims(8)
