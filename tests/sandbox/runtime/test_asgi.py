"""ASGI applications, plain, FastAPI's and behind a Worker's fetch handler."""

from __future__ import annotations

import json

import pytest

from sandbox.payloads import Failed, Ready
from sandbox.protocol import WINDOW
from tests.sandbox.runtime.peer import Instance

SCOPE = """
import json
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    shown = {key: value for key, value in scope.items() if key not in ("env", "state")}
    shown["headers"] = [[a.decode(), b.decode()] for a, b in shown["headers"]]
    shown["raw_path"], shown["query_string"] = shown["raw_path"].decode(), "?" in "".join(shown)
    shown["env"] = scope["env"].NAME
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"b")]})
    await send({"type": "http.response.body", "body": json.dumps(shown).encode()})
"""


def test_scope(instance: Instance) -> None:
    assert isinstance(instance.load(SCOPE, env={"NAME": "n"}), Ready)
    reply = instance.get("/m/a%20b?c=d", mount="/m")
    assert reply.header("x-a") == ["b"]
    scope = json.loads(reply.body)
    assert scope["path"] == "/m/a b"
    assert scope["raw_path"] == "/m/a%20b"
    assert scope["root_path"] == "/m"
    assert scope["client"] == ["192.0.2.7", 4711]
    assert scope["server"] == ["hello.example.com", 8443]
    assert (scope["scheme"], scope["method"], scope["http_version"]) == ("https", "GET", "1.1")
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
    assert scope["env"] == "n"
    assert ["host", "hello.example.com:8443"] in scope["headers"]


LATE = """
import asyncio
told = asyncio.Event()
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["path"] == "/tell":
        told.set()
    else:
        await told.wait()
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})
"""


def test_what_has_arrived_is_received_at_once(instance: Instance) -> None:
    instance.load(LATE)
    stream = instance.open(method="POST", stream_body=True)
    for piece in (b"one", b"two", b"three"):
        instance.send_body(stream, piece, end=False)
    instance.get("/tell")
    assert instance.finish(stream).body == b"onetwothree"


LIFESPAN = """
import contextlib, fastapi
started = 0
@contextlib.asynccontextmanager
async def lifespan(app):
    global started
    started += 1
    yield {"db": "connected"}
    print("shut down")
app = fastapi.FastAPI(lifespan=lifespan)
@app.get("/count")
def count(request: fastapi.Request):
    return [started, request.state.db]
"""


def test_lifespan_runs_once(instance: Instance) -> None:
    instance.load(LIFESPAN)
    assert [json.loads(instance.get("/count").body) for _ in range(3)] == [[1, "connected"]] * 3
    instance.drain()
    assert instance.wait() == 0
    with pytest.raises(EOFError):
        instance.until(lambda: False)
    assert [log.message for log in instance.outside] == [["shut down"]]


def test_lifespan_that_fails_fails_the_load(instance: Instance) -> None:
    source = LIFESPAN.replace("started += 1", "raise ValueError('no database')")
    failed = instance.load(source)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.name, failed.message) == ("code", "ValueError", "no database")
    assert (failed.file, failed.line) == ("worker.py", 7)


def test_streaming_both_ways(instance: Instance) -> None:
    source = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})
"""
    instance.load(
        source.replace("await send", "if scope['type'] == 'lifespan': return\n    await send", 1)
    )
    stream = instance.open(method="POST", stream_body=True)
    reply = instance.replies[stream]
    for piece in (b"one", b"two"):
        instance.send_body(stream, piece, end=False)
        instance.until(lambda piece=piece: reply.body.endswith(piece))  # type: ignore[misc]
    instance.send_body(stream, b"three", end=True)
    assert instance.finish(stream).body == b"onetwothree"


def test_responses_wait_for_credit(instance: Instance) -> None:
    source = """
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
async def chunks():
    for _ in range(50):
        yield b"x" * 10_000
async def page(request):
    return StreamingResponse(chunks())
app = Starlette()
app.add_route("/", page)
"""
    instance.load(source)
    instance.give_credit = False
    stream = instance.open()
    instance.until(lambda: instance.credit[stream] == 0)
    instance.give_credit = True
    instance.grant(stream, WINDOW)
    assert len(instance.finish(stream).body) == 500_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('before')", "before"),
        ("return", "without a response"),
        ("await send({'type': 'http.response.body', 'body': b''})", "before http.response.start"),
        ("await send({'type': 'http.response.start', 'status': 99})", "outside of 200"),
        ("await send({'type': 'http.response.start', 'status': 200})", "within a response"),
        ("await send({'type': 'odd'})", "unexpected ASGI message"),
        (
            (
                "await send({'type': 'http.response.start', 'status': 200,"
                " 'headers': [(b'a', b'b\\n')]})"
            ),
            "CR, LF or NUL",
        ),
    ],
)
def test_applications_that_break_the_rules(instance: Instance, body: str, words: str) -> None:
    source = (
        f"async def app(scope, receive, send):\n    if scope['type'] == 'http':\n        {body}"
    )
    assert isinstance(instance.load(source), Ready)
    reply = instance.get()
    assert words in reply.exceptions[0].message
    assert not reply.status


def test_background_tasks_run_after_the_response(instance: Instance) -> None:
    source = """
import asyncio, fastapi
app = fastapi.FastAPI()
gate = asyncio.Event()
async def later():
    await gate.wait()
    print("later")
@app.get("/")
async def page(tasks: fastapi.BackgroundTasks):
    tasks.add_task(later)
    return "now"
@app.get("/go")
async def go():
    gate.set()
"""
    instance.load(source)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: reply.ended)
    assert not reply.done
    instance.get("/go")
    assert instance.finish(stream).lines("log") == ["later"]


def test_cancel_is_a_disconnect(instance: Instance) -> None:
    source = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await receive()
        print("waiting")
        print((await receive())["type"])
"""
    instance.load(source)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    instance.cancel(stream)
    assert instance.finish(stream).lines("log") == ["waiting", "http.disconnect"]
    assert [error.kind for error in reply.exceptions] == ["canceled"]


def test_cancel_ends_applications_that_do_not_listen(instance: Instance) -> None:
    source = """
import asyncio
async def app(scope, receive, send):
    if scope["type"] == "http":
        print("waiting")
        await asyncio.Event().wait()
"""
    instance.load(source)
    stream = instance.open()
    instance.until(lambda: bool(instance.replies[stream].logs))
    instance.cancel(stream)
    assert [error.kind for error in instance.finish(stream).exceptions] == ["canceled"]


FASTAPI = """
import fastapi, pydantic
from workers import fetch, run_sync, wait_until
app = fastapi.FastAPI()
class Item(pydantic.BaseModel):
    name: str
    price: float = 0
@app.post("/items/{number}")
async def create(number: int, item: Item, q: str = ""):
    return {"number": number, "item": item, "q": q}
@app.get("/sync")
def in_thread():
    print("in a thread")
    return run_sync(run_sync(fetch("https://api.example.com/")).text())
"""


def test_fastapi(instance: Instance) -> None:
    instance.load(FASTAPI)
    headers = {"content-type": "application/json"}
    good = instance.get("/items/7?q=x", method="POST", body=b'{"name": "a"}', headers=headers)
    assert json.loads(good.body) == {"number": 7, "item": {"name": "a", "price": 0.0}, "q": "x"}
    bad = instance.get("/items/7", method="POST", body=b"{}", headers=headers)
    assert bad.status == 422
    assert "/items/{number}" in json.loads(instance.get("/openapi.json").body)["paths"]
    assert b"swagger" in instance.get("/docs").body


def test_synchronous_routes_run_in_threads_and_may_fetch(instance: Instance) -> None:
    from tests.sandbox.runtime.peer import ok  # noqa: PLC0415

    instance.load(FASTAPI)
    instance.fetch = ok
    for _ in range(3):
        reply = instance.get("/sync")
        assert json.loads(reply.body) == "GET https://api.example.com/ "
        assert reply.lines("log") == ["in a thread"]


def test_mounted_fastapi_serves_below_its_mount(instance: Instance) -> None:
    source = "import fastapi\napp = fastapi.FastAPI()\n@app.get('/')\ndef root(): return 'root'\n"
    instance.load(source + "@app.get('/a')\ndef a(): return 'a'")
    assert instance.get("/acme/hello", mount="/acme/hello").body == b'"root"'
    assert instance.get("/acme/hello/", mount="/acme/hello").body == b'"root"'
    assert instance.get("/acme/hello/a", mount="/acme/hello").body == b'"a"'


BEHIND = """
import asgi, fastapi, contextlib
from workers import WorkerEntrypoint
started = 0
@contextlib.asynccontextmanager
async def lifespan(app):
    global started
    started += 1
    yield
app = fastapi.FastAPI(lifespan=lifespan)
@app.post("/a")
async def a(request: fastapi.Request, env=asgi.env):
    return [started, (await request.body()).decode(), env.NAME]
@app.get("/broken")
async def broken():
    raise ValueError("broken route")
@app.get("/big")
async def big():
    return fastapi.responses.StreamingResponse(iter([b"x" * 1000] * 300))
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await asgi.fetch(app, request, self.env, self.ctx)
"""


def test_asgi_behind_a_fetch_handler(instance: Instance) -> None:
    instance.load(BEHIND, env={"NAME": "n"})
    for _ in range(2):
        reply = instance.get("/a", method="POST", body=b"data")
        assert json.loads(reply.body) == [1, "data", "n"]
    assert len(instance.get("/big").body) == 300_000
    assert [error.message for error in instance.get("/broken").exceptions] == ["broken route"]
