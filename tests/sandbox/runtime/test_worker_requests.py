"""Cloudflare-style Workers, served through the wire."""

from __future__ import annotations

import json
import time

import pytest

from sandbox.payloads import Ready
from sandbox.protocol import WINDOW
from tests.sandbox.runtime.peer import Instance

ECHO = """
from workers import Response, WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response.json({
            "url": request.url, "method": request.method,
            "agent": request.headers.get("User-Agent"),
            "has": "user-agent" in request.headers, "text": await request.text(),
            "used": request.body_used, "env": self.env.NAME, "item": self.env["LIMITS"]["a"],
        }, headers={"X-One": "1"})
"""


def test_request_and_response(instance: Instance) -> None:
    instance.load(ECHO, env={"NAME": "value", "LIMITS": {"a": [1]}})
    reply = instance.get("/a%20b?c=d", method="POST", body=b"hi", headers={"user-agent": "x"})
    assert reply.status == 200
    assert reply.header("x-one") == ["1"]
    assert reply.header("content-type") == ["application/json"]
    assert json.loads(reply.body) == {
        "url": "https://hello.example.com:8443/a%20b?c=d",
        "method": "POST",
        "agent": "x",
        "has": True,
        "text": "hi",
        "used": True,
        "env": "value",
        "item": [1],
    }


@pytest.mark.parametrize(
    "source",
    [
        "def on_fetch(request): return request.url",
        "def on_fetch(request, env): return request.url + env.X",
        "async def on_fetch(request, env, ctx): return request.url + env.X",
        "async def on_fetch(*args): return args[0].url + args[1].X",
        "class Default:\n    async def fetch(self, request): return request.url",
        "class Default:\n    async def fetch(self): return 'https://hello.example.com:8443/p'",
        "class Default:\n    def fetch(self, request, env, ctx): return request.url + env.X",
        (
            "class Default:\n    def __init__(self, ctx, env): self.e = env\n"
            "    def fetch(self, request): return request.url + self.e.X"
        ),
        (
            "from workers import handler\n@handler\nasync def on_fetch(request, env):\n"
            "    return request.url"
        ),
        "async def inner(r): return r.url\ndef on_fetch(request): return inner(request)",
    ],
)
def test_handlers_are_called_relaxed(instance: Instance, source: str) -> None:
    assert isinstance(instance.load(source, env={"X": ""}), Ready)
    for _ in range(2):
        assert instance.get("/p").body == b"https://hello.example.com:8443/p"


def test_one_object_for_each_request(instance: Instance) -> None:
    source = """
from workers import WorkerEntrypoint
class Default(WorkerEntrypoint):
    seen = 0
    async def fetch(self, request):
        self.seen += 1
        return str(self.seen)
"""
    instance.load(source)
    assert [instance.get().body for _ in range(2)] == [b"1", b"1"]


@pytest.mark.parametrize(
    ("result", "hint"),
    [("None", "forget to return"), ("{}", "Response.json"), ("42", "expected a Response")],
)
def test_wrong_results_are_named(instance: Instance, result: str, hint: str) -> None:
    instance.load(f"async def on_fetch(request): return {result}")
    reply = instance.get()
    assert reply.exceptions[0].name == "TypeError"
    assert hint in reply.exceptions[0].message
    assert not reply.status


@pytest.mark.parametrize(
    ("make", "name"),
    [
        ("Response('', status=99)", "ValueError"),
        ("Response('', status='200')", "TypeError"),
        ("Response('', headers={'a b': 'c'})", "ValueError"),
        ("Response('', headers={'a': 'c\\r\\nd'})", "ValueError"),
        ("Response('', headers=[('a', None)])", "TypeError"),
        ("Response({})", "TypeError"),
        ("Response('x', status=204)", "TypeError"),
        ("Response.redirect('/', 200)", "ValueError"),
    ],
)
def test_invalid_responses_raise_in_the_tenants_code(
    instance: Instance, make: str, name: str
) -> None:
    source = f"from workers import Response\nasync def on_fetch(request):\n    return {make}\n"
    instance.load(source)
    exception = instance.get().exceptions[0]
    assert exception.name == name
    assert 'File "worker.py", line 3' in exception.stack


def test_changed_headers_are_checked_too(instance: Instance) -> None:
    source = """
from workers import Response
async def on_fetch(request):
    response = Response("", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    response.headers["X-Good"] = "1"
    response.headers["x-good"] = "2"
    if "bad" in request.url:
        response.headers["x-bad"] = "1\\n2"
    return response
"""
    instance.load(source)
    reply = instance.get()
    assert reply.header("set-cookie") == ["a=1", "b=2"]
    assert reply.header("x-good") == ["2"]
    assert instance.get("/bad").exceptions[0].name == "ValueError"


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_streamed_responses_wait_for_credit(instance: Instance, kind: str) -> None:
    source = f"""
from workers import Response
async def chunks():
    for number in range(20):
        yield bytes([number]) * 50_000
def plain():
    for number in range(20):
        yield bytes([number]) * 50_000
{kind} on_fetch(request):
    return Response(chunks() if "async" in request.url else plain())
"""
    instance.load(source)
    expected = b"".join(bytes([number]) * 50_000 for number in range(20))
    for path in ("/async", "/plain"):
        instance.give_credit = False
        stream = instance.open(path)
        reply = instance.replies[stream]
        instance.until(lambda stream=stream: instance.credit[stream] == 0)  # type: ignore[misc]
        assert sum(map(len, reply.chunks)) == WINDOW
        instance.give_credit = True
        instance.grant(stream, WINDOW)
        instance.finish(stream)
        assert reply.body == expected


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 262_144, 1_000_001])
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_bodies_of_every_size(instance: Instance, kind: str, size: int) -> None:
    source = f"""
from workers import Response
{kind} on_fetch(request):
    return Response(b"x" * {size})
"""
    instance.load(source)
    assert instance.get().body == b"x" * size


def test_request_body_is_read_as_it_comes_and_gives_credit(instance: Instance) -> None:
    source = """
from workers import Response
async def on_fetch(request):
    async def double():
        async for chunk in request.body:
            yield chunk.upper()
    return Response(double())
"""
    instance.load(source)
    stream = instance.open(method="POST", stream_body=True)
    reply = instance.replies[stream]
    instance.send_body(stream, b"first", end=False)
    instance.until(lambda: reply.body == b"FIRST")
    for _ in range(4):
        instance.send_body(stream, b"x" * 50_000, end=False)
    instance.until(lambda: instance.credit.get(-stream, 0) >= 150_000)
    instance.send_body(stream, b"", end=True)
    assert len(instance.finish(stream).body) == 200_005


def test_a_body_is_read_once(instance: Instance) -> None:
    source = """
async def on_fetch(request):
    copy = request.clone()
    assert await copy.json() == await request.json()
    try:
        await request.text()
    except OSError as error:
        return str(error)
"""
    instance.load(source)
    reply = instance.get(method="POST", body=b'{"a": 1}')
    assert reply.body == b"Body already used"


@pytest.mark.parametrize("multipart", [False, True])
def test_forms(instance: Instance, multipart: bool) -> None:
    source = """
from workers import Response
async def on_fetch(request):
    form = await request.form_data()
    file = form.get("file")
    name = file and [file.name, file.content_type, (await file.bytes()).hex()]
    return Response.json([form.get_all("a"), file and name])
"""
    instance.load(source)
    if multipart:
        body = (
            b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
            b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n'
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="x.bin"\r\n'
            b"Content-Type: image/png\r\n\r\n\r\n\x00\xff\r\r\n--B--\r\n"
        )
        kind, file = 'multipart/form-data; boundary="B"', ["x.bin", "image/png", "0d0a00ff0d"]
    else:
        body, kind, file = b"a=1&a=2", "application/x-www-form-urlencoded", None
    reply = instance.get(method="POST", body=body, headers={"content-type": kind})
    assert json.loads(reply.body) == [["1", "2"], file]


def test_requests_overlap_in_asynchronous_code(instance: Instance) -> None:
    source = """
import asyncio
gate = None
async def on_fetch(request):
    global gate
    if gate is None:
        gate = asyncio.Event()
        await asyncio.wait_for(gate.wait(), 10)
        return "first"
    gate.set()
    return "second"
"""
    instance.load(source)
    first, second = instance.open(), instance.open()
    assert instance.finish(second).body == b"second"
    assert instance.finish(first).body == b"first"


def test_requests_queue_in_synchronous_code(instance: Instance) -> None:
    instance.load("def on_fetch(request): return request.url[-1]")
    streams = [instance.open(f"/{number}") for number in range(5)]
    assert [instance.finish(stream).body for stream in streams] == [b"0", b"1", b"2", b"3", b"4"]


def test_synchronous_code_reads_its_body_with_run_sync(instance: Instance) -> None:
    source = """
from workers import run_sync
def on_fetch(request):
    return run_sync(request.text()).upper()
"""
    instance.load(source)
    stream = instance.open(method="POST", stream_body=True)
    later = instance.open(method="POST", body=b"later")
    instance.send_body(stream, b"abc", end=False)
    instance.send_body(stream, b"def", end=True)
    assert instance.finish(stream).body == b"ABCDEF"
    assert instance.finish(later).body == b"LATER"


def test_run_sync_on_the_event_loop_says_what_to_do(instance: Instance) -> None:
    source = """
from workers import run_sync
async def on_fetch(request):
    return run_sync(request.text())
"""
    instance.load(source)
    assert "use await" in instance.get().exceptions[0].message


def test_cancel_ends_the_handler(instance: Instance) -> None:
    source = """
import asyncio
async def on_fetch(request):
    print("waiting")
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")
"""
    instance.load(source)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    instance.cancel(stream)
    instance.finish(stream)
    assert reply.lines("log") == ["waiting", "cleaned up"]
    assert [error.kind for error in reply.exceptions] == ["canceled"]


def test_cancel_reaches_synchronous_code_that_waits(instance: Instance) -> None:
    source = """
import asyncio
from workers import run_sync
def on_fetch(request):
    print("waiting")
    run_sync(asyncio.Event().wait())
"""
    instance.load(source)
    stream = instance.open()
    instance.until(lambda: bool(instance.replies[stream].logs))
    instance.cancel(stream)
    assert [error.kind for error in instance.finish(stream).exceptions] == ["canceled"]


def test_cancel_ends_a_response_that_waits_for_credit(instance: Instance) -> None:
    source = """
from workers import Response
def endless():
    while True:
        yield b"x" * 10_000
async def on_fetch(request):
    return Response(endless())
"""
    instance.load(source)
    instance.give_credit = False
    stream = instance.open()
    instance.until(lambda: instance.credit[stream] == 0)
    instance.cancel(stream)
    assert [error.kind for error in instance.finish(stream).exceptions] == ["canceled"]
    instance.give_credit = True


def test_drain_finishes_what_is_in_flight(instance: Instance) -> None:
    source = """
async def on_fetch(request):
    return await request.text()
"""
    instance.load(source)
    stream = instance.open(method="POST", stream_body=True)
    instance.drain()
    instance.send_body(stream, b"last", end=True)
    assert instance.finish(stream).body == b"last"
    assert instance.wait() == 0


def test_drain_of_synchronous_code(instance: Instance) -> None:
    instance.load("def on_fetch(request): return 'x'")
    assert instance.get().body == b"x"
    instance.drain()
    assert instance.wait() == 0


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize("chunks", ["async def", "def"])
def test_streams_are_closed_when_the_client_leaves(
    instance: Instance, kind: str, chunks: str
) -> None:
    source = f"""
from workers import Response
{chunks} endless():
    try:
        while True:
            yield b"x" * 10_000
    finally:
        print("closed")
{kind} on_fetch(request):
    return Response(endless())
"""
    instance.load(source)
    instance.give_credit = False
    stream = instance.open()
    instance.until(lambda: instance.credit[stream] == 0)
    instance.cancel(stream)
    assert instance.finish(stream).lines("log") == ["closed"]


def test_synchronous_streams_may_wait_with_run_sync(instance: Instance) -> None:
    source = """
import asyncio
from workers import Response, run_sync
def on_fetch(request):
    def chunks():
        yield b"read "
        yield run_sync(request.bytes())
    return Response(chunks())
"""
    instance.load(source)
    assert instance.get(method="POST", body=b"later").body == b"read later"


def test_after_a_slow_batch_an_answer_does_not_wait_for_the_handlers_after_it(
    instance: Instance,
) -> None:
    instance.load("""
import time
async def on_fetch(request):
    if request.url.endswith("/quick"):
        return "quick"
    time.sleep(float(request.url.rsplit("/", 1)[1]))
    return str(time.monotonic())
""")
    for _ in range(20):
        instance.get("/quick")
    waited = 0
    for slow in ("/0.02", *["/0.2"] * 5):
        # While one handler blocks the process the next requests gather, and come as one batch.
        blocking = instance.open("/0.02")
        first, second = instance.open("/quick"), instance.open(slow)
        instance.finish(blocking)
        instance.finish(first)
        seen = time.monotonic()
        waited += seen > float(instance.finish(second).body)
    assert waited <= 1, "only before it was known that they are slow"
