"""WebSockets of Workers and ASGI applications, as real clients see them."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from gateway.config import Config
from tests.support.node import LiveNode, live_node
from tests.support.served import serve
from tests.support.sockets import client, closed_with

pytest.importorskip("fastapi")

WORKER = """
import asyncio
from workers import Response, WorkerEntrypoint, WebSocketPair

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.headers.get("Upgrade") != "websocket":
            return Response("Expected Upgrade: websocket", status=426)
        client, server = WebSocketPair()
        server.accept()
        commands = {"close": lambda: server.close(4001, "bye"), "burn": burn, "boom": boom,
                    "origin": lambda: server.send(request.headers["origin"])}
        def on_message(event):
            if isinstance(event.data, str) and event.data in commands:
                commands[event.data]()
            else:
                server.send(event.data)
        server.addEventListener("message", on_message)
        server.addEventListener("close", lambda e: print("closed", e.code, e.reason, e.wasClean))
        return Response(None, status=101, web_socket=client, headers={"x-own": "1"})

def burn():
    while True:
        pass

def boom():
    raise ValueError("boom")
"""
ITERATED = """
from js import Response, WebSocketPair
from pyodide.ffi import create_proxy

async def on_fetch(request, env, ctx):
    client, server = WebSocketPair.new().object_values()
    server.accept()
    async def serve():
        async for message in server:
            server.send(message.upper())
            if message == "last":
                server.close()
    ctx.waitUntil(serve())
    return Response.new(None, {"status": 101, "webSocket": client})
"""
LISTENING = """
import asyncio
from workers import Response, WebSocketPair

async def on_fetch(request, env, ctx):
    client, server = WebSocketPair()
    server.accept()
    async def on_message(event):
        await asyncio.sleep(0)
        if event.data == "boom":
            raise ValueError("boom")
        server.send("async " + event.data)
    server.add_event_listener("message", on_message)
    return Response(None, status=101, web_socket=client)
"""
MOUNTED = """
from fastapi import FastAPI, WebSocket
from workers import WorkerEntrypoint, asgi

app = FastAPI()

@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text + socket.scope["env"].MARK)

@app.get("/")
async def index():
    return "plain"

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await asgi.fetch(app, request, self.env)
"""
PLAIN = """
from workers import Response, WebSocketPair

def on_fetch(request):
    client, server = WebSocketPair()
    server.accept()
    server.addEventListener("message", lambda event: server.send(event.data))
    return Response(None, status=101, web_socket=client)
"""
APP = """
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.responses import PlainTextResponse

app = FastAPI()
room = set()

@app.websocket("/echo")
async def echo(socket: WebSocket):
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol=offered[-1] if offered else None)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                print("gone", message["code"], message["reason"])
                return
            text = message.get("text")
            if text == "boom":
                raise ValueError(text)
            if text == "close":
                await socket.close(3000, "done")
                return
            if text == "return":
                return
            if text is not None:
                await socket.send_text(text)
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect as error:
        print("disconnect", error.code)

@app.websocket("/room")
async def join(socket: WebSocket):
    await socket.accept()
    room.add(socket)
    try:
        async for text in socket.iter_text():
            for other in list(room):
                await other.send_text(text)
    finally:
        room.discard(socket)

@app.websocket("/flood")
async def flood(socket: WebSocket):
    await socket.accept()
    chunk = b"x" * 500_000
    for number in range(40):
        await socket.send_bytes(chunk)
    await socket.close()

@app.websocket("/deny")
async def deny(socket: WebSocket):
    await socket.send_denial_response(PlainTextResponse("pay first", 402))

@app.websocket("/refuse")
async def refuse(socket: WebSocket):
    await socket.close()

@app.websocket("/raise")
async def early(socket: WebSocket):
    raise ValueError("before accept")

@app.websocket("/other")
async def other(socket: WebSocket):
    await socket.accept(subprotocol="never-offered")

@app.get("/")
async def index():
    return {"open": len(room)}
"""
PUSHING = """
import asyncio
from fastapi import FastAPI, WebSocket

app = FastAPI()

@app.websocket("/{pause}/{work}")
async def push(socket: WebSocket, pause: float, work: int):
    await socket.accept()
    while True:
        await asyncio.sleep(pause)
        await socket.send_text(str(sum(range(work))))
"""
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain"]
"""


def _impatient(config: Config) -> Config:
    plans = {
        **config.plans,
        "small": msgspec.structs.replace(
            config.plans["pro"], websockets=2, message_kb=4, concurrency=1, instances=1
        ),
    }
    sockets = msgspec.structs.replace(config.websocket, idle_seconds=2.0)
    return msgspec.structs.replace(config, plans=plans, websocket=sockets)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node")) as live:
        live.deploy("talk", WORKER)
        live.deploy("iterated", ITERATED)
        live.deploy("listening", LISTENING)
        live.deploy("plain", PLAIN)
        live.deploy("shop", APP, plan="enterprise", limits={"instances": 1})
        live.deploy("flask", WSGI)
        yield live


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    return node.started.tenant_port


def echoed(connection: ClientConnection, message: str | bytes) -> bool:
    connection.send(message)
    return connection.recv(timeout=60) == message


@pytest.mark.parametrize(("name", "path"), [("talk", "/"), ("plain", "/"), ("shop", "/echo")])
def test_messages_of_any_kind_and_size_come_back(port: int, name: str, path: str) -> None:
    with client(port, name, path) as connection:
        for message in ("hi", b"\x00\xff", "", b"", "é" * 200_000, b"x" * (1 << 20), "😀" * 9):
            assert echoed(connection, message)
        assert connection.ping().wait(60)


def test_ten_thousand_messages_keep_their_order(port: int) -> None:
    with client(port, "talk") as connection, ThreadPoolExecutor(1) as pool:
        received = pool.submit(lambda: [connection.recv(timeout=60) for _ in range(10_000)])
        for number in range(10_000):
            connection.send(str(number))
        assert received.result() == [str(number) for number in range(10_000)]


def test_the_workers_headers_are_in_the_handshake(port: int) -> None:
    with client(port, "talk", origin="https://shop.example") as connection:
        assert connection.response is not None
        assert connection.response.headers["x-own"] == "1"
        assert len(connection.response.headers["waypost-ray"]) == 16
        connection.send("origin")
        assert connection.recv(timeout=60) == "https://shop.example"


def test_the_worker_closes_with_its_code_and_reason(port: int) -> None:
    with client(port, "talk") as connection:
        connection.send("last words")
        connection.send("close")
        assert connection.recv(timeout=60) == "last words"
        assert closed_with(connection) == (4001, "bye")


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, "enough"), (3999, ""), (1001, "next page"), (1014, "no upstream")]
)
def test_the_worker_hears_with_what_the_client_closes(
    node: LiveNode, port: int, code: int, reason: str
) -> None:
    with node.tail("talk") as tail:
        with client(port, "talk") as connection:
            assert echoed(connection, "hello")
            connection.close(code, reason)
        (event,) = tail.wait()
    assert event["logs"][0]["message"] == [f"closed {code} {reason} True"]
    assert (event["outcome"], event["event"]["response"]["status"]) == ("ok", 101)
    counts = {"messagesIn": 1, "messagesOut": 1, "closeCode": code}
    assert event["waypost"]["websocket"] == counts


def test_a_client_that_vanishes_is_canceled(node: LiveNode, port: int) -> None:
    with node.tail("talk") as tail:
        with client(port, "talk") as connection:
            assert echoed(connection, "hello")
            connection.socket.shutdown(2)
        (event,) = tail.wait()
    assert event["logs"][0]["message"] == ["closed 1006  False"]
    assert (event["outcome"], event["waypost"]["fault"]) == ("canceled", "client")


@pytest.mark.parametrize(
    ("name", "path"), [("talk", "/"), ("listening", "/"), ("shop", "/echo"), ("plain", "/boom")]
)
def test_an_exception_closes_with_1011(node: LiveNode, port: int, name: str, path: str) -> None:
    if name == "plain":
        node.deploy("plain-boom", PLAIN.replace("server.send(event.data)", "1 / 0"))
        name = "plain-boom"
    with node.tail(name) as tail:
        with client(port, name, path) as connection:
            connection.send("boom")
            assert closed_with(connection) == (1011, "Worker threw an exception")
        (event,) = tail.wait()
    assert (event["outcome"], event["waypost"]["code"]) == ("exception", "1101")
    assert event["exceptions"][0]["name"] in ("ValueError", "ZeroDivisionError")


def test_a_message_that_burns_its_cpu_time_closes_with_1008(node: LiveNode, port: int) -> None:
    with node.tail("talk") as tail:
        with client(port, "talk") as connection:
            for _ in range(50):
                assert echoed(connection, "cheap")
            connection.send("burn")
            assert closed_with(connection) == (1008, "Worker exceeded CPU time limit")
        (event,) = tail.wait()
    assert (event["outcome"], event["waypost"]["fault"]) == ("exceededCpu", "limit")
    # 50 cheap messages have not saved up 50 budgets for it. How soon it ends is measured elsewhere.
    assert 10 <= event["cpuTime"] < 400


def test_many_messages_may_use_more_than_one_request_could(node: LiveNode, port: int) -> None:
    source = WORKER.replace('server.send(request.headers["origin"])', "server.send(work())")
    node.deploy("busy", source + "\ndef work(): return str(sum(i * i for i in range(40_000)))\n")
    with node.tail("busy") as tail:
        with client(port, "busy") as connection:
            for _ in range(20):
                connection.send("origin")
                assert int(connection.recv(timeout=60)) > 0
        (event,) = tail.wait()
    assert event["outcome"] == "ok"
    assert event["cpuTime"] > 20


def test_what_is_sent_unasked_has_its_budget_too(node: LiveNode, port: int) -> None:
    node.deploy("pushing", PUSHING)
    with node.tail("pushing") as tail:
        with client(port, "pushing", "/0.2/1") as connection:
            assert [connection.recv(timeout=60) for _ in range(10)] == ["0"] * 10
        # It finds out by sending, and that is no fault of its.
        (event,) = tail.wait()
        assert (event["outcome"], event["exceptions"]) == ("ok", [])
        with client(port, "pushing", "/0.02/200000") as connection:
            assert closed_with(connection) == (1008, "Worker exceeded CPU time limit")
        _, event = tail.wait(2)
    assert (event["outcome"], event["waypost"]["code"]) == ("exceededCpu", "1102")


def test_iteration_and_javascripts_spelling(port: int) -> None:
    with client(port, "iterated") as connection:
        for word in ("first", "last"):
            connection.send(word)
            assert connection.recv(timeout=60) == word.upper()
        assert closed_with(connection) == (1000, "")


def test_an_asgi_application_inside_a_worker(node: LiveNode, port: int) -> None:
    mark = {"type": "plain_text", "name": "MARK", "text": "!"}
    node.deploy("mounted", MOUNTED, bindings=[mark], plan="enterprise")
    assert node.request("mounted").json() == "plain"
    with client(port, "mounted", "/ws") as connection:
        connection.send("hello")
        assert connection.recv(timeout=60) == "hello!"
        connection.close(4000, "x")
    with pytest.raises(InvalidStatus) as caught, client(port, "mounted", "/nowhere"):
        pass
    assert caught.value.response.status_code == 403


def test_fetch_opens_no_websockets(node: LiveNode) -> None:
    source = """
from workers import Response, fetch
async def on_fetch(request):
    try:
        await fetch("https://example.com/", headers={"Upgrade": "websocket"})
    except Exception as error:
        return Response(f"{type(error).__name__} {error.code}")
"""
    node.deploy("outward", source)
    assert node.request("outward").text == "FetchError no_websockets"


def test_asynchronous_listeners(port: int) -> None:
    with client(port, "listening") as connection:
        connection.send("one")
        assert connection.recv(timeout=60) == "async one"


def test_asgi_subprotocols_are_negotiated(port: int) -> None:
    with client(port, "shop", "/echo", subprotocols=["v1", "v2"]) as connection:
        assert connection.subprotocol == "v2"
        assert echoed(connection, "x")


@pytest.mark.parametrize(
    ("message", "close"),
    [("close", (3000, "done")), ("return", (1000, "")), ("boom", (1011, None))],
)
def test_asgi_applications_end_it(port: int, message: str, close: tuple[int, str | None]) -> None:
    with client(port, "shop", "/echo") as connection:
        connection.send(message)
        code, reason = closed_with(connection)
    assert code == close[0]
    assert close[1] in (None, reason)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/refuse", 403, "403 Forbidden"),
        ("/nowhere", 403, "403 Forbidden"),
        ("/deny", 402, "pay first"),
        ("/raise", 500, "1101"),
        ("/other", 502, "bad_response"),
    ],
)
def test_a_refused_handshake_is_a_plain_answer(
    port: int, path: str, status: int, body: str
) -> None:
    with pytest.raises(InvalidStatus) as caught, client(port, "shop", path):
        pass
    response = caught.value.response
    assert response.status_code == status
    assert body in response.body.decode()


def test_an_answer_that_is_no_handshake_ends_the_tenants_side_too(
    node: LiveNode, port: int
) -> None:
    with node.tail("shop") as tail:
        with pytest.raises(InvalidStatus), client(port, "shop", "/other"):
            pass
        (event,) = tail.wait()
    # Not only when the wall time is over.
    assert event["wallTime"] < 5_000
    assert event["waypost"]["code"] == "bad_response"


def test_wsgi_answers_501(port: int) -> None:
    with pytest.raises(InvalidStatus) as caught, client(port, "flask"):
        pass
    assert caught.value.response.status_code == 501
    assert caught.value.response.headers["waypost-code"] == "no_websockets"


def test_a_plain_request_to_a_websocket_worker_gets_its_own_answer(node: LiveNode) -> None:
    answer = node.request("talk")
    assert (answer.status_code, answer.text) == (426, "Expected Upgrade: websocket")


def test_an_answer_of_101_that_nobody_asked_for_is_an_exception(node: LiveNode) -> None:
    answer = node.request("iterated")
    assert (answer.status_code, answer.headers["waypost-code"]) == (500, "1101")


def test_one_process_carries_a_room(node: LiveNode, port: int) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(client(port, "shop", "/room")) for _ in range(120)]
        # More than an instance serves requests at once: open WebSockets take no request's place.
        assert node.request("shop").json() == {"open": 120}
        members[0].send("hello")
        assert {member.recv(timeout=60) for member in members} == {"hello"}
        labels = 'namespace="production",tenant="shop",script="shop"'
        assert f"waypost_websockets{{{labels}}} 120" in node.api.get("/metrics").text


def test_a_slow_reader_gets_everything(port: int) -> None:
    with client(port, "shop", "/flood", max_queue=1) as connection:
        first = connection.recv(timeout=60)
        threading.Event().wait(0.3)  # The tenant runs into the window meanwhile.
        sizes = [len(first), *(len(connection.recv(timeout=60)) for _ in range(39))]
        assert sizes == [500_000] * 40
        assert closed_with(connection)[0] == 1000


def test_a_deploy_closes_with_1001_and_the_next_connection_is_the_new_code(
    node: LiveNode, port: int
) -> None:
    node.deploy("moving", WORKER)
    with client(port, "moving") as connection:
        assert echoed(connection, "old")
        node.deploy("moving", WORKER.replace("server.send(event.data)", 'server.send("new")'))
        assert closed_with(connection) == (1001, "The worker is being replaced.")
    with client(port, "moving") as connection:
        connection.send("old")
        assert connection.recv(timeout=60) == "new"


def test_suspending_a_tenant_closes_its_connections(node: LiveNode, port: int) -> None:
    node.deploy("nasty", WORKER)
    with client(port, "nasty") as connection:
        assert echoed(connection, "x")
        node.api.put("/v1/tenants/nasty", json={"status": "suspended"}).raise_for_status()
        assert closed_with(connection)[0] == 1001
    with pytest.raises(InvalidStatus) as caught, client(port, "nasty"):
        pass
    assert caught.value.response.status_code == 403


def test_a_dead_process_closes_with_1011(node: LiveNode, port: int) -> None:
    node.deploy("dying", WORKER.replace('raise ValueError("boom")', "import os; os._exit(1)"))
    with client(port, "dying") as connection:
        connection.send("boom")
        assert closed_with(connection)[0] == 1011


def test_limits_of_plan_and_node(tmp_path: Path) -> None:
    with live_node(tmp_path / "node", _impatient) as live:
        port = live.started.tenant_port
        live.deploy("talk", WORKER, plan="small")
        with client(port, "talk") as first, client(port, "talk") as second:
            # Two of two are open: a third is shed, a plain request is served all the same.
            with pytest.raises(InvalidStatus) as caught, client(port, "talk"):
                pass
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["waypost-code"] == "load_shed"
            assert live.request("talk").status_code == 426
            assert echoed(first, b"x" * 4096)
            first.send(b"x" * 4097)
            assert closed_with(first) == (1009, "message too big")
            assert closed_with(second) == (1001, "idle for 2 s")
        with client(port, "talk") as connection:
            assert echoed(connection, "the places are free again")
    lines = [json.loads(line) for line in (tmp_path / "node/access.log").read_text().splitlines()]
    codes = [line["websocket"]["closeCode"] for line in lines if "websocket" in line]
    assert sorted(codes) == [1000, 1001, 1009]


def test_a_stopping_node_closes_with_1001(tmp_path: Path) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        with live_node(tmp_path / "node") as live:
            live.deploy("talk", WORKER)
            connection = stack.enter_context(client(live.started.tenant_port, "talk"))
            assert echoed(connection, "x")
            found = pool.submit(closed_with, connection)
        assert found.result(60) == (1001, "The server is going away.")


def test_a_reload_closes_with_1001_and_the_next_node_takes_the_next_connection(
    tmp_path: Path,
) -> None:
    with serve(tmp_path / "node") as served:
        served.deploy("talk", WORKER)
        port = urlsplit(served.facts["tenants"]).port
        assert port is not None
        with client(port, "talk") as connection:
            assert echoed(connection, "x")
            served.process.send_signal(signal.SIGHUP)
            assert closed_with(connection) == (1001, "The server is going away.")
        with client(port, "talk") as connection:
            assert echoed(connection, "y")
