"""WebSockets under attack: clients that break RFC 6455, and workers that break the wire."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec
import pytest

from gateway.config import Config
from sandbox.protocol import MESSAGE_COST, WINDOW
from tests.support.node import LiveNode, live_node
from tests.support.raw import LATE, ask, wire
from tests.support.sockets import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    client,
    closed_with,
    frame,
    head,
    raw_socket,
    upgrade,
)

ECHO = """
from workers import Response, WebSocketPair

async def on_fetch(request, env, ctx):
    if request.headers.get("upgrade") != "websocket":
        return Response("plain")
    client, server = WebSocketPair()
    server.accept()
    server.addEventListener("message", lambda event: server.send(event.data))
    return Response(None, status=101, web_socket=client)
"""
SENDER = """
import asyncio
from workers import Response, WebSocketPair

async def on_fetch(request, env, ctx):
    client, server = WebSocketPair()
    server.accept()
    for _ in range(300):
        server.send(b"x" * 60_000)
    return Response(None, status=101, web_socket=client)
"""
LAZY = """
import asyncio
from workers import Response, WebSocketPair

async def on_fetch(request, env, ctx):
    client, server = WebSocketPair()
    server.accept()
    ctx.waitUntil(asyncio.sleep(20))
    return Response(None, status=101, web_socket=client)
"""
FORGER = """
import os, struct
from workers import Response, WebSocketPair
from sandbox.runtime.context import current

def forge(kind, payload=b"", flags=0, stream=None, times=1):
    stream = current.get().stream if stream is None else stream
    data = struct.pack("<IBBHI", len(payload), kind, flags, 0, stream) + payload
    os.set_blocking(3, True)
    data *= times
    while data:
        data = data[os.write(3, data):]

CLOSE = b"\\x92\\xcd\\x03\\xe8\\xa0"

def attack():
    {attack}

async def on_fetch(request, env, ctx):
    if request.headers.get("upgrade") != "websocket":
        {plain}
        return Response("plain")
    client, server = WebSocketPair()
    server.accept()
    server.addEventListener("message", lambda event: attack())
    return Response(None, status=101, web_socket=client)
"""


def _impatient(config: Config) -> Config:
    http = msgspec.structs.replace(config.http, stall_seconds=1.0, head_seconds=1.0)
    sockets = msgspec.structs.replace(config.websocket, ping_seconds=1.0)
    return msgspec.structs.replace(config, http=http, websocket=sockets)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node")) as live:
        live.deploy("echo", ECHO)
        yield live


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    return node.started.tenant_port


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node whose waits are short."""
    with live_node(tmp_path_factory.mktemp("node"), _impatient) as live:
        live.deploy("echo", ECHO)
        live.deploy("sender", SENDER, plan="enterprise")
        # Little time once its client is gone: the node waits for it when it stops.
        live.deploy("lazy", LAZY, plan="enterprise", limits={"wall_ms": 1000})
        yield live


# Clients that break the handshake


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (upgrade("echo").replace(b": 13", b": 8"), 426, "upgrade_required"),
        (upgrade("echo").replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426, "upgrade_required"),
        (upgrade("echo", key=b"short"), 400, "bad_request"),
        (upgrade("echo", key=b"!" * 24), 400, "bad_request"),
        (upgrade("echo", b"Sec-WebSocket-Key: " + KEY), 400, "bad_request"),
        (upgrade("echo").replace(b"Sec-WebSocket-Key: %s\r\n" % KEY, b""), 400, "bad_request"),
        (upgrade("nobody"), 404, "hostname_not_configured"),
    ],
)
def test_handshakes_that_are_none(port: int, request_: bytes, status: int, code: str) -> None:
    answer = ask(port, request_)
    assert (answer.status, answer.code) == (status, code)
    if status == 426:
        assert answer.get("sec-websocket-version") == "13"


@pytest.mark.parametrize(
    "request_",
    [
        upgrade("echo").replace(b"GET", b"POST"),
        upgrade("echo").replace(b"HTTP/1.1", b"HTTP/1.0"),
        upgrade("echo").replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        upgrade("echo").replace(b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"),
        upgrade("echo", b"Content-Length: 2") + b"hi",
    ],
)
def test_what_asks_for_no_websocket_is_a_plain_request(port: int, request_: bytes) -> None:
    answer = ask(port, request_)
    assert (answer.status, answer.body) == (200, b"plain")


def test_the_worker_sees_no_upgrade_that_is_not_one(node: LiveNode) -> None:
    headers = {"Upgrade": "websocket", "Connection": "upgrade, x"}
    assert node.request("echo", method="POST", headers=headers).text == "plain"


def test_frames_sent_before_the_handshake_is_answered_are_not_lost(port: int) -> None:
    with wire(port) as connection:
        connection.send(upgrade("echo") + frame(TEXT, b"early"))
        assert b"101" in connection._file.readline()
        while connection._file.readline() != b"\r\n":
            pass
        assert connection._file.read(7) == b"\x81\x05early"


def test_a_handshake_that_drips_is_ended(impatient: LiveNode) -> None:
    with wire(impatient.started.tenant_port) as connection:
        connection.send(upgrade("echo")[:-4])
        assert connection.answer().code == "request_timeout"


# Clients that break the frames


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([frame(TEXT, b"x", masked=False)], 1002, id="unmasked"),
        pytest.param([frame(3, b"x")], 1002, id="reserved opcode"),
        pytest.param([frame(11, b"x")], 1002, id="reserved control opcode"),
        pytest.param([frame(TEXT | 0x40, b"x")], 1002, id="compressed, which was not agreed"),
        pytest.param([frame(TEXT | 0x20, b"x")], 1002, id="reserved bit"),
        pytest.param([frame(PING, b"x" * 126)], 1002, id="long ping"),
        pytest.param([frame(PING, b"x", last=False)], 1002, id="fragmented ping"),
        pytest.param([frame(0, b"x")], 1002, id="continuation of nothing"),
        pytest.param([frame(TEXT, b"a", last=False), frame(TEXT, b"b")], 1002, id="interleaved"),
        pytest.param([frame(TEXT, b"\xff\xfe")], 1007, id="not UTF-8"),
        pytest.param([frame(TEXT, b"\xed\xa0\x80")], 1007, id="surrogate"),
        pytest.param([frame(TEXT, "é".encode()[:1])], 1007, id="half a character"),
        pytest.param(
            [frame(TEXT, b"\xc3", last=False), frame(0, b"\x28")], 1007, id="broken across frames"
        ),
        pytest.param([frame(CLOSE, b"\x03")], 1002, id="close of one byte"),
        pytest.param([frame(CLOSE, b"\x03\xed")], 1002, id="close with 1005"),
        pytest.param([frame(CLOSE, b"\x00\x00")], 1002, id="close with 0"),
        pytest.param([frame(CLOSE, b"\x03\xf8")], 1002, id="close with 1016"),
        pytest.param([frame(CLOSE, b"\x03\xe8\xff")], 1007, id="close reason not UTF-8"),
        pytest.param([frame(CLOSE, b"\x03\xf6\xff")], 1007, id="reason of 1014 not UTF-8"),
        pytest.param([head(BINARY, (1 << 20) + 1)], 1009, id="a byte too long"),
        pytest.param([head(BINARY, 1 << 62)], 1009, id="four exabytes"),
        pytest.param([head(BINARY, 1 << 63)], 1002, id="a negative length"),
        pytest.param(
            [frame(BINARY, b"x" * 600_000, last=False), head(0, 600_000)], 1009, id="in two parts"
        ),
        pytest.param(
            [frame(BINARY, last=False), frame(0, last=False) * 20_000], 1009, id="endless fragments"
        ),
    ],
)
def test_frames_that_are_none(port: int, frames: list[bytes], code: int) -> None:
    with raw_socket(port, "echo") as connection:
        connection.send(frame(TEXT, b"fine"))
        assert connection.frame().payload == b"fine"
        connection.send(*frames)
        assert connection.closed() == code
        assert connection.wire.ended()


def test_a_message_may_come_in_many_parts_with_pings_between(port: int) -> None:
    with raw_socket(port, "echo") as connection:
        text = "é" * 100
        raw = text.encode()
        connection.send(frame(TEXT, raw[:1], last=False))
        for byte in raw[1:-1]:
            connection.send(frame(PING, b"p"), frame(0, bytes([byte]), last=False))
        connection.send(frame(0, raw[-1:]))
        answers = [connection.frame()]
        while answers[-1].opcode != TEXT:
            answers.append(connection.frame())
        assert answers[-1].payload.decode() == text
        assert {answer.payload for answer in answers if answer.opcode == PONG} == {b"p"}


@pytest.mark.parametrize("size", [1, 3, 64])
def test_it_does_not_matter_where_the_packets_end(port: int, size: int) -> None:
    messages = ["", "é😀", "x" * 130, "y" * 300]
    data = b"".join(
        frame(TEXT, text.encode()[:1], last=False)
        + frame(PING, b"between")
        + frame(0, text.encode()[1:])
        for text in messages
    )
    with raw_socket(port, "echo") as connection:
        connection.wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
        texts: list[str] = []
        while len(texts) < len(messages):
            if (answer := connection.frame()).opcode == TEXT:
                texts.append(answer.payload.decode())
        connection.send(frame(CLOSE, b"\x03\xe8"))
        assert connection.closed() == 1000
    assert texts == messages


def test_nothing_is_compressed_even_if_the_client_offers(port: int) -> None:
    with client(port, "echo", compression="deflate") as connection:
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers
        connection.send("x" * 1000)
        assert connection.recv(timeout=60) == "x" * 1000


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0f\xa0why"])
def test_a_close_is_answered_with_its_own_code(port: int, payload: bytes) -> None:
    with raw_socket(port, "echo") as connection:
        connection.send(frame(CLOSE, payload))
        answer = connection.frame()
        assert (answer.opcode, answer.payload) == (CLOSE, payload[:2])
        assert connection.wire.ended()


def test_pings_are_answered_in_order_before_a_close(port: int) -> None:
    pings = [b"%d" % number for number in range(10)]
    with raw_socket(port, "echo") as connection:
        connection.send(*(frame(PING, payload) for payload in pings), frame(CLOSE, b"\x03\xe8"))
        answers = [connection.frame() for _ in pings]
        assert [(answer.opcode, answer.payload) for answer in answers] == [(PONG, p) for p in pings]
        assert connection.closed() == 1000


def test_what_follows_a_close_is_not_served(port: int) -> None:
    with raw_socket(port, "echo") as connection:
        connection.send(frame(CLOSE, b"\x03\xe8"), frame(TEXT, b"too late"), b"GET / HTTP/1.1\r\n")
        assert connection.frame().opcode == CLOSE
        assert connection.wire.ended()


def test_a_flood_of_pings_starves_nobody(node: LiveNode, port: int) -> None:
    with raw_socket(port, "echo") as connection:
        flood = frame(PING, b"") * 100_000
        connection.wire.socket.setblocking(False)
        sent = 0
        took = []
        for _ in range(20):
            try:
                while sent < len(flood):
                    sent += connection.wire.socket.send(flood[sent : sent + 65536])
            except BlockingIOError:
                pass
            before = time.monotonic()
            assert node.request("echo").text == "plain"
            took.append(time.monotonic() - before)
    assert sent > 100_000
    # Who is starved waits each time; a busy machine lets somebody wait now and then.
    assert median(took) < 0.5


# Clients that are slow, or gone


def test_a_client_that_never_reads_is_cut(impatient: LiveNode) -> None:
    with impatient.tail("sender") as tail:
        with raw_socket(impatient.started.tenant_port, "sender") as connection:
            (event,) = tail.wait()
            assert connection.wire.socket.fileno() >= 0
    assert event["outcome"] == "canceled"
    # Held back for it: two windows, the gateway's buffers, and the kernel's for both sockets.
    assert event["waypost"]["websocket"]["closeCode"] == 1006


def test_a_client_that_answers_no_ping_is_gone(impatient: LiveNode) -> None:
    with impatient.tail("echo") as tail:
        with raw_socket(impatient.started.tenant_port, "echo"):
            (event,) = tail.wait()
    assert event["waypost"]["websocket"]["closeCode"] == 1006


def test_a_client_that_answers_pings_stays(impatient: LiveNode) -> None:
    with raw_socket(impatient.started.tenant_port, "echo") as connection:
        for _ in range(2):
            assert connection.frame().opcode == PING
            connection.send(frame(PONG))
        connection.send(frame(TEXT, b"still here"))
        while (answer := connection.frame()).opcode == PING:
            pass
        assert answer.payload == b"still here"


def test_a_tenant_that_never_takes_messages_holds_a_bounded_number(impatient: LiveNode) -> None:
    with raw_socket(impatient.started.tenant_port, "lazy") as connection:
        connection.wire.socket.settimeout(1.0)
        connection.wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        message, sent = frame(BINARY, b"x" * 1000), 0
        try:
            while sent < 64 << 20:
                sent += connection.wire.socket.send(message * 64)
        except TimeoutError:
            pass
        connection.wire.socket.settimeout(LATE)
        # The window in the instance, an inbox in the gateway, and what the kernel takes.
        assert 100_000 < sent < 12 << 20
    assert WINDOW // MESSAGE_COST <= 128
    assert impatient.request("echo").text == "plain"


# Workers that break the wire


ATTACKS = {
    "text that is not UTF-8": "forge(17, b'\\xff', 1)",
    "a message inside of another": "forge(17, b'a'); forge(18, b'b', 1)",
    "more than its credit": "forge(18, b'x' * 4000, times=500)",
    "empty parts": "forge(18)",
    "a close code that may not be sent": "forge(19, b'\\x92\\xcd\\x03\\xee\\xa0')",
    "a close that is none": "forge(19, b'\\xc1')",
    "a long reason": "forge(19, b'\\x92\\xcd\\x03\\xe8\\xd9\\x7c' + b'x' * 124)",
    "two closes": "forge(19, CLOSE); forge(19, CLOSE)",
    "a message after the close": "forge(19, CLOSE); forge(17, b'x', 1)",
    "body bytes": "forge(7, b'x')",
    "credit for nothing": "forge(14, b'\\xff\\xff\\xff\\x7f')",
    "the end without a close": "forge(10)",
}


OTHER_FIELDS = {"Upgrade": "h2c", "Content-Length": "5", "Waypost-Ray": "mine"}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_worker_that_breaks_the_wire_is_stopped(node: LiveNode, port: int, name: str) -> None:
    node.deploy("forger", FORGER.format(attack=ATTACKS[name], plain="pass"))
    with node.tail("forger") as tail:
        with client(port, "forger") as connection:
            connection.send("go")
            code, _ = closed_with(connection)
        (event,) = tail.wait()
    after_its_own_close = name in ("two closes", "a message after the close")
    assert code == (1000 if after_its_own_close else 1011)
    if not after_its_own_close:
        assert (event["outcome"], event["waypost"]["code"]) == ("internalError", "protocol")
    assert node.request("echo").text == "plain"
    assert node.request("forger").text == "plain"


@pytest.mark.parametrize("kind", [17, 18, 19])
def test_messages_where_there_is_no_websocket(node: LiveNode, kind: int) -> None:
    node.deploy("forger", FORGER.format(attack="pass", plain=f"forge({kind}, b'x', 1)"))
    answer = node.request("forger")
    assert (answer.status_code, answer.headers["waypost-code"]) == (502, "protocol")


def test_messages_for_anothers_stream_reach_nobody(node: LiveNode, port: int) -> None:
    node.deploy("forger", FORGER.format(attack="forge(17, b'x', 1, 4000)", plain="pass"))
    with client(port, "echo") as honest, client(port, "forger") as connection:
        connection.send("go")
        assert closed_with(connection)[0] == 1011
        honest.send("mine")
        assert honest.recv(timeout=60) == "mine"


def test_a_worker_cannot_forge_the_handshake(node: LiveNode, port: int) -> None:
    names = ("Accept", "Extensions", "Key", "Version")
    forged = {**{f"Sec-WebSocket-{name}": "forged" for name in names}, **OTHER_FIELDS}
    source = ECHO.replace("web_socket=client", f"web_socket=client, headers={forged}")
    node.deploy("forger", source)
    with client(port, "forger") as connection:
        assert connection.response is not None
        fields = connection.response.headers
        assert fields.get_all("upgrade") == ["websocket"]
        assert "content-length" not in fields
        assert "sec-websocket-extensions" not in fields
        assert fields["waypost-ray"] != "mine"
        connection.send("x")
        assert connection.recv(timeout=60) == "x"


def test_what_a_worker_sends_is_as_long_as_the_plan_allows(tmp_path: Path) -> None:
    with live_node(tmp_path / "node") as live:
        live.deploy("forger", FORGER.format(attack="server.send(b'x' * 2_000_000)", plain="pass"))
        with live.tail("forger") as tail, client(live.started.tenant_port, "forger") as connection:
            connection.send("go")
            assert closed_with(connection)[0] == 1011
            (event,) = tail.wait()
    assert event["exceptions"][0]["name"] in ("ValueError", "NameError")
