"""HTTP clients of the standard library and of others, whose requests go out as subrequests."""

from __future__ import annotations

import json
import re
import signal

import pytest

from sandbox.payloads import FetchedHead, FetchError, FetchHead, Ready
from tests.sandbox.runtime.peer import Answer, Instance
from tests.support.bundles import vendored

HOST = "https://api.example.com"


def echo(head: FetchHead, body: bytes) -> Answer:
    if head.url.endswith("/gone"):
        return FetchedHead(
            404, "Not Found", [(b"content-type", b"text/plain")], head.url, False
        ), b""
    if head.url.endswith("/moved"):
        return FetchedHead(302, "Found", [(b"location", b"/there")], head.url, False), b""
    text = f"{head.method} {head.url} {body.decode()}".encode()
    return FetchedHead(200, "OK", [(b"x-a", b"1")], head.url, False), text


def results(instance: Instance, source: str, path: str = "/") -> object:
    instance.load(source)
    instance.fetch = echo
    reply = instance.get(path)
    assert reply.status == 200, reply.exceptions
    return json.loads(reply.body)


def test_urllib_sends_subrequests(instance: Instance) -> None:
    source = f"""
import urllib.error, urllib.request
from workers import Response
def on_fetch(request):
    with urllib.request.urlopen("{HOST}/a?b=1") as answer:
        first = [answer.status, answer.headers["x-a"], answer.read().decode()]
    upload = urllib.request.Request("{HOST}:8443/b", data=b"data", headers={{"X-B": "2"}})
    second = urllib.request.urlopen(upload).read().decode()
    try:
        urllib.request.urlopen("{HOST}/gone")
    except urllib.error.HTTPError as error:
        return Response.json([first, second, error.code])
"""
    assert results(instance, source) == [
        [200, "1", f"GET {HOST}:443/a?b=1 "],
        f"POST {HOST}:8443/b data",
        404,
    ]
    head = instance.fetches[1][0]
    assert (b"x-b", b"2") in head.headers
    assert head.redirect == "manual"
    assert not {b"host", b"connection"} & {name for name, _ in head.headers}
    assert (b"content-length", b"4") in head.headers


def test_a_chunked_body_arrives_whole(instance: Instance) -> None:
    source = """
import http.client
from workers import Response
def on_fetch(request):
    connection = http.client.HTTPConnection("api.example.com")
    connection.request("PUT", "/c", body=iter([b"one", b"two"]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    return Response.json(connection.getresponse().read().decode())
"""
    assert results(instance, source) == "PUT http://api.example.com:80/c onetwo"


def test_httpx_sends_subrequests_and_follows_redirects(instance: Instance) -> None:
    source = f"""
import httpx
from workers import Response
def on_fetch(request):
    with httpx.Client(follow_redirects=True) as client:
        answer = client.get("{HOST}/moved")
        posted = client.post("{HOST}/b", content=b"data").text
    return Response.json([str(answer.url), answer.text, posted])
"""
    assert results(instance, source) == [
        f"{HOST}/there",
        f"GET {HOST}:443/there ",
        f"POST {HOST}:443/b data",
    ]


def test_httpx_works_on_the_event_loop_and_at_once(instance: Instance) -> None:
    source = f"""
import asyncio, httpx
from workers import Response
async def on_fetch(request):
    async with httpx.AsyncClient() as client:
        answers = await asyncio.gather(*(client.get(f"{HOST}/{{n}}") for n in range(3)))
    return Response.json([answer.text for answer in answers])
"""
    assert results(instance, source) == [f"GET {HOST}:443/{n} " for n in range(3)]


def successor() -> dict[str, str]:
    """A bundle with httpx2 and httpcore2: what differs for us is the name."""
    names = re.compile(r"\b(httpx|httpcore)\b")
    return {
        names.sub(r"\g<1>2", path): names.sub(r"\g<1>2", content.decode())
        for path, content in vendored("httpx", "httpcore").items()
        if path.endswith(".py") and isinstance(content, bytes)
    }


@pytest.mark.parametrize(
    "ask",
    [
        "async with httpx2.AsyncClient() as client:\n        answer = await client.get(URL)",
        "answer = await asyncio.to_thread(httpx2.get, URL)",
    ],
)
def test_the_successor_of_httpx_sends_subrequests_too(instance: Instance, ask: str) -> None:
    source = f"""
import asyncio, httpx2
from workers import Response
URL = "{HOST}/a"
async def on_fetch(request):
    try:
        {ask.replace("    ", "        ")}
    except httpx2.ConnectError as error:
        return Response(str(error))
    return Response(answer.text)
"""
    assert isinstance(instance.load({"worker.py": source, **successor()}), Ready)
    instance.fetch = echo
    assert instance.get().body == f"GET {HOST}:443/a ".encode()
    instance.fetch = lambda head, body: FetchError("refused", "a private address")
    assert b"a private address" in instance.get().body


@pytest.mark.parametrize(
    ("call", "error"),
    [("urllib.request.urlopen", "OSError"), ("httpx.get", "httpx.ConnectError")],
)
def test_refusals_are_the_errors_that_the_client_raises(
    instance: Instance, call: str, error: str
) -> None:
    source = f"""
import httpx, urllib.request
from workers import Response
def on_fetch(request):
    try:
        {call}("{HOST}/")
    except {error} as error:
        return Response(str(error))
"""
    instance.load(source)
    instance.fetch = lambda head, body: FetchError("refused", "a private address")
    assert b"a private address" in instance.get().body


@pytest.mark.parametrize("call", ["httpx.get", "urllib.request.urlopen"])
def test_a_synchronous_client_on_the_event_loop_stops_the_loop(
    instance: Instance, call: str
) -> None:
    source = f"""
import asyncio, httpx, urllib.request
from workers import Response
async def on_fetch(request):
    if request.url.endswith("/plain"):
        await asyncio.sleep(0)
        return Response(await request.text())
    answer = {call}("{HOST}/")
    await asyncio.sleep(0)
    again = {call}("{HOST}/again")
    return Response(str([answer.read(), again.read()]))
"""
    instance.load(source)
    instance.fetch = echo
    streams = [instance.open(path=path, method="POST", body=b"b") for path in ("/", "/plain", "/")]
    said = f"[b'GET {HOST}:443/ ', b'GET {HOST}:443/again ']".encode()
    assert [instance.finish(stream).body for stream in streams] == [said, b"b", said]
    instance.fetch = lambda head, body: FetchError("refused", "a private address")
    assert "a private address" in instance.get().exceptions[0].message


@pytest.mark.parametrize("url", ["https://hello.example.com:8443/a", "http://Hello.example.com/"])
def test_a_synchronous_client_on_the_event_loop_does_not_wait_for_itself(
    instance: Instance, url: str
) -> None:
    source = f"""
import urllib.request
async def on_fetch(request):
    urllib.request.urlopen("{url}")
"""
    instance.load(source)
    assert "asyncio.to_thread" in instance.get().exceptions[0].message


def test_a_synchronous_client_on_the_event_loop_sends_a_long_body(instance: Instance) -> None:
    source = f"""
import httpx
from workers import Response
async def on_fetch(request):
    return Response.json(len(httpx.post("{HOST}/", content=b"x" * 700_000).text))
"""
    assert results(instance, source) == len(f"POST {HOST}:443/ ") + 700_000


def test_a_synchronous_client_in_what_a_synchronous_handler_leaves_behind(
    instance: Instance,
) -> None:
    source = f"""
import asyncio, urllib.request
from workers import Response, waitUntil
served, behind = [], []
async def later():
    await asyncio.sleep(0)
    behind.append(urllib.request.urlopen("{HOST}/").read().decode())
    served.append("between")
def on_fetch(request):
    served.append(request.url[-1])
    if request.url.endswith("1"):
        waitUntil(later())
    return Response.json([served, behind])
"""
    instance.load(source)
    instance.fetch = echo
    first, second = instance.open(path="/1"), instance.open(path="/2")
    assert json.loads(instance.finish(first).body) == [["1"], []]
    said = [["1", "between", "2"], [f"GET {HOST}:443/ "]]
    assert json.loads(instance.finish(second).body) == said


def test_a_client_that_leaves_ends_what_stops_the_loop(instance: Instance) -> None:
    source = f"""
import urllib.request
from workers import Response
async def on_fetch(request):
    if request.url.endswith("/next"):
        return Response("next")
    urllib.request.urlopen("{HOST}/never")
"""
    instance.load(source)
    instance.fetch = None
    stream = instance.open()
    instance.until(lambda: bool(instance.fetches))
    # Both in one piece: the second must not be left lying.
    instance.signal(signal.SIGSTOP)
    instance.cancel(stream)
    following = instance.open(path="/next")
    instance.signal(signal.SIGCONT)
    assert instance.finish(following).body == b"next"


def test_threads_of_asynchronous_code_may_use_synchronous_clients(instance: Instance) -> None:
    source = f"""
import asyncio, urllib.request
from workers import Response
async def on_fetch(request):
    answer = await asyncio.to_thread(urllib.request.urlopen, "{HOST}/")
    return Response.json(answer.read().decode())
"""
    assert results(instance, source) == f"GET {HOST}:443/ "


def test_the_threads_of_an_executor_know_their_request(instance: Instance) -> None:
    source = f"""
import asyncio, urllib.request
from concurrent.futures import ThreadPoolExecutor
from workers import Response
pool = ThreadPoolExecutor(2)
async def on_fetch(request):
    loop = asyncio.get_running_loop()
    urls = [f"{HOST}/{{n}}" for n in range(3)]
    jobs = [loop.run_in_executor(pool, urllib.request.urlopen, url) for url in urls]
    return Response.json([answer.read().decode() for answer in await asyncio.gather(*jobs)])
"""
    assert results(instance, source) == [f"GET {HOST}:443/{n} " for n in range(3)]


def test_the_threads_of_a_synchronous_handler_are_told_what_to_do(instance: Instance) -> None:
    source = f"""
import urllib.request
from concurrent.futures import ThreadPoolExecutor
def on_fetch(request):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(urllib.request.urlopen, "{HOST}/").result()
"""
    instance.load(source)
    assert "use an async def handler" in instance.get().exceptions[0].message


AIOHTTP = f"""
import asyncio, aiohttp
from workers import Response
async def on_fetch(request):
    async with aiohttp.ClientSession() as session:
        async with session.post("{HOST}/a", params={{"b": "1"}}, json={{"c": 2}}) as answer:
            posted = [answer.status, answer.headers["x-a"], await answer.text()]
        async def get(path):
            async with session.get("{HOST}" + path) as answer:
                return [str(answer.url), await answer.text()]
        several = await asyncio.gather(*(get(path) for path in ("/1", "/2", "/moved")))
        parts = iter([b"one", b"two" * 50_000])
        async def body():
            for part in parts:
                yield part
        async with session.put("{HOST}/d", data=body()) as answer:
            size = len(await answer.read())
    return Response.json([posted, several, size])
"""


def test_aiohttp_sends_subrequests(instance: Instance) -> None:
    assert results(instance, AIOHTTP) == [
        [200, "1", f'POST {HOST}:443/a?b=1 {{"c": 2}}'],
        [
            [f"{HOST}/1", f"GET {HOST}:443/1 "],
            [f"{HOST}/2", f"GET {HOST}:443/2 "],
            [f"{HOST}/there", f"GET {HOST}:443/there "],
        ],
        len(f"PUT {HOST}:443/d ") + 3 + 150_000,
    ]


def test_a_refusal_is_a_client_error_of_aiohttp(instance: Instance) -> None:
    source = f"""
import aiohttp
from workers import Response
async def on_fetch(request):
    async with aiohttp.ClientSession() as session:
        try:
            await session.get("{HOST}/")
        except aiohttp.ClientError as error:
            return Response(str(error))
"""
    instance.load(source)
    instance.fetch = lambda head, body: FetchError("refused", "a private address")
    assert b"a private address" in instance.get().body


def test_a_body_that_is_all_there_has_its_length(instance: Instance) -> None:
    source = f"""
from workers import Response, fetch
async def on_fetch(request):
    wrong = {{"Content-Length": "7"}}
    return Response.json((await fetch("{HOST}/", method="PUT", body="data", headers=wrong)).status)
"""
    assert results(instance, source) == 200
    lengths = [value for name, value in instance.fetches[0][0].headers if name == b"content-length"]
    assert lengths == [b"4"]


def test_botocore_waits_for_no_hundred(instance: Instance) -> None:
    connection = """
import http.client
class AWSConnection(http.client.HTTPSConnection):
    def request(self, method, url, body=None, headers=None):
        assert "Expect" not in headers, "would wait for an answer that never comes"
        super().request(method, url, body, headers)
"""
    source = """
from botocore.awsrequest import AWSConnection
from workers import Response
def on_fetch(request):
    connection = AWSConnection("api.example.com")
    connection.request("PUT", "/k", b"data", {"Expect": b"100-continue", "X-B": "2"})
    return Response.json(connection.getresponse().read().decode())
"""
    instance.load(
        {"worker.py": source, "botocore/__init__.py": "", "botocore/awsrequest.py": connection}
    )
    instance.fetch = echo
    assert instance.get().body == b'"PUT https://api.example.com:443/k data"'
