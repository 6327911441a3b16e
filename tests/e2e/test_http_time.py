"""Clients that take their time, leave, or never listen: what they hold, and for how long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config, Http
from gateway.model.plan import Limits
from tests.support.node import LiveNode, live_node
from tests.support.raw import LATE, ask, ask_all, wire

APP = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    path = scope["path"]
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if path == "/wait":
        await asyncio.sleep(600)
    if path == "/count":
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
    await send(start)
    if path == "/drip":
        while True:
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
            await asyncio.sleep(0.02)
    if path == "/flood":
        for _ in range(400):
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    if path == "/slow":
        await asyncio.sleep(0.3)
    if path == "/slower":
        await asyncio.sleep(1.2)
    await send({"type": "http.response.body", "body": path.encode()})
"""
HOST = b" HTTP/1.1\r\nHost: patient.localhost\r\n"
WALL_MS = 4000
HTTP = Http(connections=60, head_seconds=0.5, idle_seconds=0.6, stall_seconds=0.7)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node that waits for nobody, and lets one request of a tenant run at a time."""

    def change(config: Config) -> Config:
        limits = Limits(cpu_ms=500, wall_ms=WALL_MS, concurrency=1, body_mb=1)
        return msgspec.structs.replace(config, plans={"free": limits}, http=HTTP)

    with live_node(tmp_path_factory.mktemp("hasty"), change) as live:
        live.deploy("patient", APP)
        yield live


@pytest.fixture
def port(hasty: LiveNode) -> int:
    return hasty.started.tenant_port


@pytest.mark.parametrize("beginning", [b"", b"\r\n", b"\r\n\r\n"])
def test_a_connection_that_asks_nothing_is_closed(port: int, beginning: bytes) -> None:
    with wire(port) as connection:
        connection.send(beginning)
        assert connection.ended()


def test_an_idle_connection_is_closed(port: int) -> None:
    with wire(port) as connection:
        connection.send(b"GET /" + HOST + b"\r\n")
        assert connection.answer().body == b"/"
        assert connection.ended()


@pytest.mark.parametrize("listener", ["tenants", "control"])
def test_a_head_that_drips_is_answered_408(hasty: LiveNode, listener: str) -> None:
    port = hasty.started.tenant_port if listener == "tenants" else hasty.started.api_port
    with wire(port) as connection:
        connection.send(b"GET /" + HOST)
        connection.socket.settimeout(0.05)
        began = time.monotonic()
        answered = False
        while not answered and time.monotonic() - began < 10:
            connection.send(b"X: y\r\n")
            try:
                answered = bool(connection.socket.recv(1, socket.MSG_PEEK))
            except TimeoutError:
                continue
        connection.socket.settimeout(LATE)
        assert HTTP.head_seconds * 0.9 < time.monotonic() - began < 5
        (answer,) = connection.answers()
    assert (answer.status, answer.code) == (408, "request_timeout")


def test_a_head_that_the_node_does_not_read_on_is_not_late(port: int) -> None:
    requests = (b"GET /slower" + HOST + b"\r\n") + (b"GET /" + HOST + b"\r\n") * 60
    with wire(port) as connection:
        connection.send(requests)
        assert [connection.answer().status for _ in range(61)] == [200] * 61


def test_a_body_that_stops_is_answered_408_and_the_slot_given_back(port: int) -> None:
    (answer,) = ask_all(port, b"POST /count" + HOST + b"Content-Length: 10\r\n\r\nhello")
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert ask(port, b"GET /" + HOST + b"\r\n").status == 200


def test_a_body_that_drips_is_ended_by_the_wall_time(port: int) -> None:
    with wire(port) as connection:
        connection.send(b"POST /count" + HOST + b"Content-Length: 1000\r\n\r\n")
        connection.socket.settimeout(0.1)
        began = time.monotonic()
        answered = False
        while not answered and time.monotonic() - began < 15:
            connection.send(b"x")
            try:
                answered = bool(connection.socket.recv(1, socket.MSG_PEEK))
            except TimeoutError:
                continue
        connection.socket.settimeout(LATE)
        answer = connection.answer()
    assert (answer.status, answer.code) == (504, "wall_time")


def test_who_leaves_cancels_the_tenant_and_frees_its_slot(hasty: LiveNode, port: int) -> None:
    with hasty.tail("patient") as tail:
        for path in (b"/drip", b"/wait"):
            with wire(port) as connection:
                connection.send(b"GET " + path + HOST + b"\r\n")
                if path == b"/drip":
                    assert connection.socket.recv(100)
            assert ask(port, b"GET /" + HOST + b"\r\n").status == 200
        events = tail.wait(4)
    assert [event["outcome"] for event in events] == ["canceled", "ok", "canceled", "ok"]
    assert all(event["wallTime"] < WALL_MS for event in events)


def test_who_leaves_cancels_all_that_it_asked_for(hasty: LiveNode, port: int) -> None:
    with hasty.tail("patient") as tail:
        with wire(port) as connection:
            connection.send((b"GET /drip" + HOST + b"\r\n") + (b"GET /wait" + HOST + b"\r\n") * 3)
            assert connection.socket.recv(100)
        assert ask(port, b"GET /" + HOST + b"\r\n").status == 200
        events = tail.wait(2)
    assert [event["outcome"] for event in events] == ["canceled", "ok"]


def test_who_closes_the_sending_half_still_gets_the_answer(port: int) -> None:
    for path in (b"/", b"/slow", b"/flood"):
        with wire(port) as connection:
            connection.send(b"GET " + path + HOST + b"\r\n")
            connection.socket.shutdown(socket.SHUT_WR)
            (answer,) = connection.answers()
            assert (answer.status, answer.whole) == (200, True)
            assert answer.body.endswith(path)
    torn = b"POST /count" + HOST + b"Content-Length: 10\r\n\r\nhello"
    with wire(port) as connection:
        connection.send(torn)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.ended()
    for whole in ([b"/slow"], [b"/slow", b"/"]):
        with wire(port) as connection:
            connection.send(b"".join(b"GET " + path + HOST + b"\r\n" for path in whole) + torn)
            connection.socket.shutdown(socket.SHUT_WR)
            assert [answer.body for answer in connection.answers()] == whole


def test_who_never_reads_is_cut_and_gives_the_slot_back(hasty: LiveNode, port: int) -> None:
    with hasty.tail("patient") as tail, wire(port) as deaf:
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.send(b"GET /flood" + HOST + b"\r\n")
        (event,) = tail.wait(1)
        assert event["outcome"] == "canceled"
        assert event["wallTime"] < WALL_MS
        assert ask(port, b"GET /" + HOST + b"\r\n").status == 200


def test_the_rest_of_a_refused_upload_does_not_cost_the_answer(port: int) -> None:
    size = 8 << 20
    with wire(port) as connection:
        connection.send(b"POST /count" + HOST + b"Content-Length: %d\r\n\r\n" % size)
        connection.send(bytes(size))
        answer = connection.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        connection.send(b"GET /" + HOST + b"\r\n")
        assert connection.answer().status == 200


def test_more_connections_than_allowed_are_closed(hasty: LiveNode, port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(80)]
    try:
        with wire(port) as one_more:
            assert one_more.ended()
    finally:
        for connection in held:
            connection.close()


def test_one_address_cannot_keep_the_others_out(tmp_path: Path) -> None:
    def small(config: Config) -> Config:
        return msgspec.structs.replace(config, http=Http(connections=20, head_seconds=60))

    with live_node(tmp_path, small) as node, ExitStack() as stack:
        node.deploy("patient", APP)
        port = node.started.tenant_port
        busy, *idle = [stack.enter_context(wire(port)) for _ in range(20)]
        busy.send(b"GET /drip" + HOST + b"\r\n")
        assert busy.socket.recv(10)
        for connection in idle:
            connection.send(b"GET /sl")
        other = stack.enter_context(wire(port, "127.0.0.9"))
        other.send(b"GET /" + HOST + b"\r\n")
        assert other.answer().status == 200
        # The oldest of those that are idle made room for it.
        assert idle[0].ended()
        # It has fewer than the first address, which gets no more.
        assert stack.enter_context(wire(port)).ended()
        other.send(b"GET /" + HOST + b"\r\n")
        assert other.answer().status == 200
        assert busy.socket.recv(10)
