"""Cloudflare-style Python Workers, from the upload to the client."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.node import LiveNode

HELLO = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(f"hello from {request.method} {request.url}")
"""


def test_a_deployed_worker_answers_on_its_hostname(node: LiveNode) -> None:
    node.deploy("hello", HELLO)
    answer = node.request("hello", "/a/b?c=d")
    assert answer.status_code == 200
    assert answer.text == "hello from GET http://hello.localhost/a/b?c=d"
    assert len(answer.headers["waypost-ray"]) == 16
    assert "waypost-outcome" not in answer.headers


def test_ports_case_and_trailing_dots_do_not_matter(node: LiveNode) -> None:
    node.deploy("hello", HELLO)
    for host in (
        "HELLO.localhost",
        "hello.localhost.",
        "hello.localhost:8787",
        "Hello.LOCALHOST.:1",
    ):
        assert node.client.get("/", headers={"Host": host}).status_code == 200, host


def test_the_global_handler_sees_vars_secrets_and_json(node: LiveNode) -> None:
    source = """
from workers import Response

async def on_fetch(request, env, ctx):
    return Response.json({"var": env.GREETING, "secret": env.KEY, "json": env.LIST[1]["a"],
                          "missing": hasattr(env, "NOPE")})
"""
    bindings = [
        {"type": "plain_text", "name": "GREETING", "text": "hi"},
        {"type": "secret_text", "name": "KEY", "text": "s3cret"},
        {"type": "json", "name": "LIST", "json": [0, {"a": 7}]},
    ]
    node.deploy("vars", source, bindings=bindings)
    expected = {"var": "hi", "secret": "s3cret", "json": 7, "missing": False}
    assert node.request("vars").json() == expected


def test_secrets_survive_a_redeploy_that_does_not_name_them(node: LiveNode) -> None:
    source = (
        "from workers import Response\nasync def on_fetch(r, env):\n    return Response(env.KEY)\n"
    )
    node.deploy("keeps", source, bindings=[{"type": "secret_text", "name": "KEY", "text": "kept"}])
    node.deploy("keeps", source + "# changed\n")
    assert node.request("keeps").text == "kept"


def test_bodies_go_both_ways(node: LiveNode) -> None:
    source = """
from workers import Response

async def on_fetch(request):
    body = await request.bytes()
    return Response(body[::-1], status=201, headers={"x-length": str(len(body))})
"""
    node.deploy("echo", source, plan="pro")
    body = bytes(range(256)) * 4096
    answer = node.request("echo", method="POST", content=body)
    assert answer.status_code == 201
    assert answer.headers["x-length"] == str(len(body))
    assert answer.content == body[::-1]


def test_a_chunked_upload_and_a_streamed_answer(node: LiveNode) -> None:
    source = """
from workers import Response

async def on_fetch(request):
    async def parts():
        for number in range(50):
            yield str(number).encode() + b"x" * 20000
    text = await request.text()
    return Response(parts(), headers={"x-got": str(len(text))})
"""
    node.deploy("streamer", source, plan="enterprise")

    def upload() -> Iterator[bytes]:
        for _ in range(20):
            yield b"y" * 50_000

    answer = node.request("streamer", method="PUT", content=upload())
    assert answer.headers["x-got"] == str(20 * 50_000)
    assert len(answer.content) == sum(len(str(n)) + 20000 for n in range(50))


def test_several_modules_and_files_beside_the_code(node: LiveNode) -> None:
    main = """
from pathlib import Path
from workers import Response
from shop.prices import price
import vendored

async def on_fetch(request):
    text = Path(__file__).parent.joinpath("data", "note.txt").read_text()
    return Response(f"{price('tea')} {text} {vendored.NAME}")
"""
    modules: dict[str, str | bytes] = {
        "main.py": main,
        "shop/__init__.py": "",
        "shop/prices.py": "def price(name):\n    return {'tea': 3}[name]\n",
        "data/note.txt": "from a file",
        "python_modules/vendored.py": "NAME = 'vendored'\n",
    }
    answer = node.upload("bundle", modules)
    assert answer.status_code == 200, answer.text
    assert node.request("bundle").text == "3 from a file vendored"


def test_wait_until_runs_after_the_answer_and_inside_the_invocation(node: LiveNode) -> None:
    source = """
import asyncio
from workers import Response

come = asyncio.Event()

async def later():
    print("waits")
    await come.wait()
    print("done later")

async def on_fetch(request, env, ctx):
    if request.url.endswith("/come"):
        come.set()
        return Response("it may end")
    ctx.waitUntil(later())
    return Response("at once")
"""
    node.deploy("later", source, limits={"instances": 1})
    with node.tail("later") as tail:
        # What it waits for comes only after its answer.
        assert node.request("later").text == "at once"
        assert node.request("later", "/come").text == "it may end"
        events = {event["event"]["request"]["url"]: event for event in tail.wait(2)}
    event = events["http://later.localhost/"]
    assert [log["message"] for log in event["logs"]] == [["waits"], ["done later"]]
    assert event["outcome"] == "ok"


def test_the_tail_shows_prints_logging_console_and_exceptions(node: LiveNode) -> None:
    source = """
import logging
from js import console
from workers import Response

async def on_fetch(request):
    print("printed", 1)
    console.warn("warned", {"a": 1})
    logging.getLogger("shop").error("logged %s", "x")
    if "boom" in request.url:
        fail("reason")
    return Response("ok")

def fail(why):
    raise ValueError(why)
"""
    node.deploy("talker", source)
    with node.tail("talker") as tail:
        assert node.request("talker", "/ok").status_code == 200
        failed = node.request("talker", "/boom")
        good, bad = tail.wait(2)
    assert [log["level"] for log in good["logs"]] == ["log", "warn", "error"]
    assert good["logs"][0]["message"] == ["printed 1"]
    assert good["logs"][1]["message"] == ["warned", {"a": 1}]
    assert good["outcome"] == "ok"
    assert good["event"]["response"]["status"] == 200
    assert good["scriptName"] == "talker"
    assert 0 < good["cpuTime"] < 100
    assert failed.status_code == 500
    assert failed.headers["waypost-code"] == "1101"
    assert failed.headers["waypost-outcome"] == "exception"
    assert "reason" not in failed.text, "a visitor must not see the tenant's exception"
    assert bad["outcome"] == "exception"
    exception = bad["exceptions"][0]
    assert (exception["name"], exception["message"]) == ("ValueError", "reason")
    assert "main.py" in exception["stack"]
    assert "in fail" in exception["stack"]


def test_an_exception_in_the_middle_of_a_stream_cuts_the_connection(node: LiveNode) -> None:
    source = """
from workers import Response

async def on_fetch(request):
    async def parts():
        yield b"partial" * 10000
        raise RuntimeError("mid-stream")
    return Response(parts())
"""
    node.deploy("cut", source)

    for _ in range(60):  # the pieces may come together, or one by one
        with pytest.raises(httpx.RemoteProtocolError):
            node.request("cut")
    assert node.request("cut-nobody").status_code == 404
