"""``fetch``, ``waitUntil`` and the rest of what a handler reaches."""

from __future__ import annotations

import json

import pytest

from sandbox.payloads import FetchedHead, FetchError, FetchHead, encode_struct
from sandbox.protocol import WINDOW, FrameType
from tests.sandbox.runtime.peer import Answer, Instance, ok

URL = "https://api.example.com/x?y=1"


def test_fetch_carries_the_request_and_the_answer(instance: Instance) -> None:
    source = f"""
from workers import Response, Request, fetch
async def on_fetch(request):
    one = await fetch("{URL}")
    two = await fetch(Request("{URL}", method="post", headers={{"X-A": "1"}}, body="data"))
    return Response.json([one.status, one.ok, one.url, one.redirected, one.headers["content-type"],
                          await one.text(), await two.text()])
"""
    instance.load(source)
    instance.fetch = ok
    reply = instance.get()
    expected = [200, True, URL, False, "text/plain", f"GET {URL} ", f"POST {URL} data"]
    assert json.loads(reply.body) == expected
    head = instance.fetches[1][0]
    assert (b"x-a", b"1") in head.headers
    assert head.redirect == "follow"
    assert head.invocation == 2


def test_answers_stream_through(instance: Instance) -> None:
    source = f"""
from workers import fetch
async def on_fetch(request):
    return await fetch("{URL}", redirect="manual")
"""
    instance.load(source)
    instance.fetch = lambda head, body: (
        FetchedHead(418, "", [(b"x-a", b"1"), (b"connection", b"close")], head.url, False),
        b"b" * 200_000,
    )
    reply = instance.get()
    assert (reply.status, reply.header("x-a"), reply.header("connection")) == (418, ["1"], [])
    assert reply.body == b"b" * 200_000
    assert instance.fetches[0][0].redirect == "manual"


@pytest.mark.parametrize("size", [10, 65_537, 3 * WINDOW])
def test_fetch_sends_bodies_with_credit(instance: Instance, size: int) -> None:
    source = f"""
from workers import fetch
async def chunks():
    yield b"a" * {size}
    yield b"b"
async def on_fetch(request):
    whole = await fetch("{URL}", method="PUT", body=b"c" * {size})
    streamed = await fetch("{URL}", method="PUT", body=chunks())
    return await streamed.bytes()
"""
    instance.load(source)
    instance.fetch = lambda head, body: (FetchedHead(200, "", [], head.url, False), b"done")
    assert instance.get().body == b"done"
    assert instance.fetches[0][1] == b"c" * size
    assert instance.fetches[1][1] == b"a" * size + b"b"


def test_fetch_sends_forms(instance: Instance) -> None:
    source = f"""
from workers import fetch, FormData, File, Response, Request
async def on_fetch(request):
    form = FormData({{"a": "1"}})
    form.append("a", "2")
    form.append("f", File([b"\\x00\\r\\n"], "n.bin", "image/png"))
    answer = await fetch("{URL}", method="POST", body=form)
    back = await Request("{URL}", method="POST", body=form).form_data()
    return Response.json([back.get_all("a"), (await back["f"].bytes()).hex(), list(back)])
"""
    instance.load(source)
    instance.fetch = lambda head, body: (FetchedHead(200, "", [], head.url, False), b"")
    assert json.loads(instance.get().body) == [["1", "2"], "000d0a", ["a", "f"]]
    headers = dict(instance.fetches[0][0].headers)
    assert headers[b"content-type"].startswith(b"multipart/form-data; boundary=")


def refuse(head: FetchHead, body: bytes) -> Answer:
    if "limit" in head.url:
        return FetchError("subrequest_limit", "no more")
    return FetchError("egress_denied", "not there")


def test_refusals_raise(instance: Instance) -> None:
    source = """
from workers import fetch, FetchError, Response
async def on_fetch(request):
    try:
        await fetch("https://denied.example/")
    except OSError as error:
        first = [type(error).__name__, error.code, str(error)]
    try:
        await fetch("https://limit.example/")
    except RuntimeError as error:
        second = [type(error).__name__, error.code, str(error)]
    return Response.json([first, second])
"""
    instance.load(source)
    instance.fetch = refuse
    assert json.loads(instance.get().body) == [
        ["FetchError", "egress_denied", "not there"],
        [
            "SubrequestLimitExceeded",
            "subrequest_limit",
            "Too many subrequests by single Worker invocation.",
        ],
    ]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("fetch('/relative')", "TypeError"),
        ("fetch('ftp://host/')", "TypeError"),
        ("fetch('https://host/\\r\\nx')", "TypeError"),
        ("fetch('https://h/', body='x')", "TypeError"),
        ("fetch('https://h/', method='POST', body={})", "TypeError"),
        ("fetch('https://h/', method='A B')", "TypeError"),
        ("fetch('https://h/', headers={'a': '\\n'})", "ValueError"),
        ("fetch('https://h/', redirect='never')", "TypeError"),
    ],
)
def test_invalid_fetches_raise_before_they_count(instance: Instance, call: str, name: str) -> None:
    instance.load(f"from workers import fetch\nasync def on_fetch(request): await {call}")
    assert instance.get().exceptions[0].name == name
    assert instance.fetches == []


def test_fetch_at_import_is_refused(instance: Instance) -> None:
    source = f"""
from workers import fetch
import asyncio
try:
    asyncio.get_event_loop().run_until_complete(fetch("{URL}"))
except RuntimeError as error:
    text = str(error)
async def on_fetch(request): return text
"""
    instance.load(source)
    assert b"global scope" in instance.get().body


def test_parallel_fetches_and_one_that_is_given_up(instance: Instance) -> None:
    source = f"""
import asyncio
from workers import fetch
async def on_fetch(request):
    answers = await asyncio.gather(*(fetch(f"{URL}&n={{n}}") for n in range(5)))
    texts = [await answer.text() for answer in answers]
    try:
        await asyncio.wait_for(fetch("https://never.example/"), 0.01)
    except TimeoutError:
        texts.append("gave up")
    asyncio.create_task(fetch("https://never.example/"))
    await asyncio.sleep(0)
    return "\\n".join(texts)
"""
    instance.load(source)
    instance.fetch = ok
    streams: list[int] = []

    def only_ours(stream: int, given: Answer) -> None:
        streams.append(stream)
        if "never" not in instance.fetches[-1][0].url:
            instance.send_answer(stream, given)

    instance.answer = only_ours
    lines = instance.get().body.decode().split("\n")
    assert lines == [*(f"GET {URL}&n={n} " for n in range(5)), "gave up"]
    assert len(set(streams)) == 7
    assert instance.cancelled == streams[5:]


def test_synchronous_code_fetches_with_run_sync(instance: Instance) -> None:
    source = f"""
from workers import fetch, run_sync
def on_fetch(request):
    body = run_sync(request.text())
    return run_sync(run_sync(fetch("{URL}", method="POST", body=body)).text())
"""
    instance.load(source)
    instance.fetch = ok
    for _ in range(2):
        assert instance.get(method="POST", body=b"b").body == f"POST {URL} b".encode()


def test_an_answer_that_breaks_off_raises(instance: Instance) -> None:
    source = f"""
from workers import fetch
async def on_fetch(request):
    answer = await fetch("{URL}")
    try:
        await answer.bytes()
    except OSError as error:
        return error.code
"""
    instance.load(source)

    def breaks(stream: int, given: Answer) -> None:
        head = FetchedHead(200, "", [], URL, False)
        error = FetchError("broken", "the connection broke")
        instance.wire.sendall(encode_struct(FrameType.FETCHED, stream, head))
        instance.wire.sendall(encode_struct(FrameType.FETCH_ERROR, stream, error))

    instance.fetch = ok
    instance.answer = breaks
    assert instance.get().body == b"broken"


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_wait_until_outlives_the_response(instance: Instance, kind: str) -> None:
    source = f"""
import asyncio
from workers import wait_until, fetch
async def nested():
    print("nested")
async def later():
    wait_until(nested())
    answer = await fetch("{URL}")
    print("later", answer.status)
async def failing():
    raise ValueError("in background")
{kind} on_fetch(request, env, ctx):
    ctx.waitUntil(later())
    ctx.wait_until(failing())
    return "now"
"""
    instance.load(source)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: reply.ended)
    assert not reply.done
    assert not reply.logs
    instance.fetch = ok
    instance.finish(stream)
    assert reply.body == b"now"
    assert sorted(reply.lines("log")) == ["later 200", "nested"]
    assert [error.message for error in reply.exceptions] == ["in background"]
    assert reply.ended_before_exception


WAITING = """
import asyncio
go = asyncio.Event()
async def later():
    print("started")
    await go.wait()
    print("done")
async def on_fetch(request, env, ctx):
    if "go" in request.url:
        go.set()
        return "x"
    ctx.waitUntil(later())
    if "slow" in request.url:
        await asyncio.Event().wait()
    return "x"
"""


def test_wait_until_survives_a_client_that_leaves(instance: Instance) -> None:
    instance.load(WAITING)
    stream = instance.open("/slow")
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    instance.cancel(stream)
    instance.until(lambda: bool(reply.exceptions))
    instance.get("/go")
    assert instance.finish(stream).lines("log") == ["started", "done"]
    assert [error.kind for error in reply.exceptions] == ["canceled"]


def test_wait_until_survives_a_client_that_does_not_read_the_response(instance: Instance) -> None:
    instance.load(WAITING)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs) and reply.ended)
    instance.cancel(stream)
    instance.get("/go")
    assert instance.finish(stream).lines("log") == ["started", "done"]
    assert reply.exceptions == []


@pytest.mark.parametrize("at_once", [False, True])
def test_cancel_after_the_response_ends_wait_until(instance: Instance, at_once: bool) -> None:
    instance.load(WAITING)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs) and reply.ended)
    instance.cancel(stream, at_once=at_once)
    assert instance.finish(stream).lines("log") == ["started"]
    assert [error.kind for error in reply.exceptions] == ["canceled"]


def test_env_and_the_rest_of_the_package(instance: Instance) -> None:
    source = """
import asgi, workers, workers.asgi, workers.wsgi
from workers import *
from workers.workflows import NonRetryableError
assert asgi is workers.asgi
class MyObject(DurableObject): ...
class MyFlow(WorkflowEntrypoint): ...
async def on_fetch(request, bindings):
    out = [env.NAME, bindings is env, env["JSON"], "NAME" in env, env.get("NO", 1)]
    with patch_env(NAME="patched", OTHER="2"):
        out += [env.NAME, env.OTHER]
    out += [env.NAME, hasattr(env, "OTHER")]
    try:
        env.MISSING
    except AttributeError as error:
        out.append("MISSING" in str(error))
    try:
        import_from_javascript("fs")
    except ImportError:
        out.append(import_from_javascript("js").console is console)
    blob = Blob(["ab", b"c"], content_type="x/y")
    out += [blob.size, await blob.slice(1).text(), python_to_rpc(1), str(request.method)]
    return Response.json(out, status=201)
"""
    instance.load(source, env={"NAME": "a", "JSON": {"k": [1]}})
    reply = instance.get()
    assert json.loads(reply.body) == [
        *("a", True, {"k": [1]}, True, 1, "patched", "2", "a", False, True, True),
        *(3, "bc", 1, "GET"),
    ]
    assert reply.status == 201
