"""What clients claim of themselves, in raw bytes: tenants are told what is known instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway.config import Config
from tests.support.node import LiveNode, live_node
from tests.support.raw import ask

APP = """
import json

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    found = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    about = {"client": scope["client"][0], "scheme": scope["scheme"], "headers": found}
    await send({"type": "http.response.body", "body": json.dumps(about).encode()})
"""
CLAIMS = {
    "Forwarded": "for=6.6.6.6;host=evil;proto=https",
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil",
    "X-Forwarded-Ssl": "on",
    "X-Real-IP": "6.6.6.6",
    "X-Client-IP": "6.6.6.6",
    "True-Client-IP": "6.6.6.6",
    "CF-Connecting-IP": "6.6.6.6",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "X-Original-Host": "evil",
    "X-Host": "evil",
    "X-Scheme": "https",
    "X-URL-Scheme": "https",
    "Front-End-Https": "on",
}


def behind_proxy(config: Config) -> Config:
    routing = msgspec.structs.replace(config.routing, trusted_proxies=("127.0.0.0/8",))
    return msgspec.structs.replace(config, routing=routing)


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    node.deploy("claims", APP)
    return node.started.tenant_port


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with live_node(tmp_path_factory.mktemp("trusting"), behind_proxy) as node:
        node.deploy("claims", APP)
        yield node.started.tenant_port


def seen(port: int, **fields: str) -> dict[str, Any]:
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    answer = ask(port, f"GET / HTTP/1.1\r\nHost: claims.localhost\r\n{head}\r\n".encode())
    assert answer.status == 200
    about: dict[str, Any] = answer.json
    return about


def test_a_stranger_is_who_the_connection_says(port: int) -> None:
    about = seen(port, **CLAIMS)
    assert (about["client"], about["scheme"]) == ("127.0.0.1", "http")
    told = [field for field in about["headers"] if field[0] != "host"]
    assert told == [
        ["x-forwarded-for", "127.0.0.1"],
        ["x-forwarded-proto", "http"],
        ["x-forwarded-host", "claims.localhost"],
    ]


def test_a_trusted_proxy_is_believed_up_to_the_last_hop_that_is_not_one(trusting: int) -> None:
    about = seen(
        trusting,
        **{"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 127.0.0.2", "X-Forwarded-Proto": "https"},
    )
    assert (about["client"], about["scheme"]) == ("203.0.113.9", "https")
    assert "6.6.6.6" not in json.dumps(about)


def test_forwarded_is_not_believed_from_anyone(trusting: int) -> None:
    about = seen(trusting, Forwarded="for=6.6.6.6;proto=https")
    assert (about["client"], about["scheme"]) == ("127.0.0.1", "http")
    assert "forwarded" not in dict(about["headers"])


@pytest.mark.parametrize(
    "field",
    [
        "Waypost-Ray: forged",
        "WAYPOST-Hops: 16",
        "Waypost-Anything: 1",
        "X_Forwarded_For: 6.6.6.6",
        "Content_Length: 5",
        "Proxy: http://evil",
        "Proxy-Authorization: Basic eA==",
        "TE: trailers",
        "Keep-Alive: timeout=1",
        "Trailer: x",
        "Connection: X-Mine\r\nX-Mine: 1",
    ],
)
def test_fields_that_no_tenant_sees(port: int, field: str) -> None:
    data = f"GET / HTTP/1.1\r\nHost: claims.localhost\r\n{field}\r\n\r\n"
    answer = ask(port, data.encode())
    assert answer.status == 200
    names = {name for name, _ in answer.json["headers"]}
    assert names == {"host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
    assert answer.get("waypost-ray") != "forged"


def test_a_client_cannot_remove_what_is_told_of_it(port: int) -> None:
    about = seen(port, Connection="close, X-Forwarded-For, Host, Cookie", Cookie="a=b")
    told = dict(about["headers"])
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert (told["host"], told["cookie"]) == ("claims.localhost", "a=b")
