"""Large bodies pass through the node without staying in it."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.raw import Wire, ask, wire
from tests.support.served import Served, serve

MIB = 1 << 20
ROOM = 24 * MIB
"""What buffers of all kinds may take while anything flows."""
APP = """
import asyncio

told = asyncio.Event()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/tell":
        told.set()
    elif scope["path"] == "/late":
        await told.wait()
    elif scope["path"] == "/never":
        await asyncio.sleep(600)
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/flood":
        block = bytes(1 << 18)
        for _ in range(1 << 12):
            await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b"%d" % size})
"""


def resident(served: Served) -> int:
    status = Path(f"/proc/{served.node}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node of its own process, whose tenant may work long enough to move a gigabyte."""
    folder = tmp_path_factory.mktemp("streams")
    generous = {
        "WAYPOST_PLANS__FREE__CPU_MS": "20000",
        "WAYPOST_PLANS__FREE__BODY_MB": "500",
        "WAYPOST_PLANS__FREE__INSTANCES": "1",
    }
    with serve(folder / "state", **generous) as node:
        node.deploy("streams", APP)
        assert node.get("streams").text == "0"
        yield node


def port_of(served: Served) -> int:
    return int(served.facts["tenants"].rpartition(":")[2])


def begin(connection: Wire, path: str, *fields: str) -> None:
    lines = [f"{path} HTTP/1.1", "Host: streams.localhost", "Connection: close", *fields, "", ""]
    connection.send("\r\n".join(lines).encode())


def test_a_gigabyte_down(served: Served) -> None:
    before, size = resident(served), 0
    with wire(port_of(served)) as connection:
        begin(connection, "GET /flood")
        while data := connection.socket.recv(MIB):
            size += len(data)
            if size % 16 < 8:
                assert resident(served) - before < ROOM
    assert size > 1024 * MIB


@pytest.mark.parametrize("chunked", [False, True])
def test_two_hundred_megabytes_up(served: Served, chunked: bool) -> None:
    before, block = resident(served), bytes(MIB)
    framed = b"%x\r\n%s\r\n" % (MIB, block) if chunked else block
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {200 * MIB}"
    with wire(port_of(served)) as connection:
        begin(connection, "POST /", framing)
        for _ in range(200):
            connection.send(framed)
            assert resident(served) - before < ROOM
        connection.send(b"0\r\n\r\n" if chunked else b"")
        assert connection.answer().body == b"%d" % (200 * MIB)


def test_an_upload_waits_in_the_client_for_a_tenant_that_does_not_read(served: Served) -> None:
    before, block, total, sent = resident(served), bytes(MIB), 64 * MIB, 0
    with wire(port_of(served)) as connection:
        begin(connection, "POST /late", f"Content-Length: {total}")
        while sent < total and select.select([], [connection.socket], [], 0.5)[1]:
            sent += connection.socket.send(block[: total - sent], socket.MSG_DONTWAIT)
        assert sent < ROOM
        assert resident(served) - before < ROOM
        ask(port_of(served), b"GET /tell HTTP/1.1\r\nHost: streams.localhost\r\n\r\n")
        while sent < total:
            sent += connection.socket.send(block[: total - sent])
            assert resident(served) - before < ROOM
        assert connection.answer().body == b"%d" % total


def test_a_download_waits_in_the_tenant_for_a_client_that_reads_slowly(served: Served) -> None:
    before = resident(served)
    with wire(port_of(served)) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        begin(connection, "GET /flood")
        for _ in range(100):
            assert connection.socket.recv(MIB // 4)
            assert resident(served) - before < ROOM
            # As slow clients do, not to wait for anything.
            time.sleep(0.005)


def test_answers_that_nobody_reads_wait_in_the_tenant(served: Served) -> None:
    before = resident(served)
    connections = []
    try:
        for _ in range(16):
            connection = Wire(port_of(served))
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            begin(connection, "GET /flood")
            connections.append(connection)
        for connection in connections:
            assert connection.socket.recv(100)
        assert served.get("streams").status_code == 200
        assert resident(served) - before < ROOM
    finally:
        for connection in connections:
            connection.close()


def test_requests_ahead_of_their_answers_wait_in_the_client(served: Served) -> None:
    before = resident(served)
    flood = b"GET /never HTTP/1.1\r\nHost: streams.localhost\r\n\r\n" * 20_000
    with ExitStack() as stack:
        connections = [stack.enter_context(wire(port_of(served))) for _ in range(16)]
        waiting = {connection.socket: flood for connection in connections}
        while ready := select.select([], list(waiting), [], 0.5)[1]:
            for sock in ready:
                sent = sock.send(waiting[sock], socket.MSG_DONTWAIT)
                waiting[sock] = waiting[sock][sent:] or flood
            assert resident(served) - before < ROOM
        assert served.get("streams").status_code == 200
        assert resident(served) - before < ROOM
