"""What a tenant's answer may do to the connection it leaves on."""

from __future__ import annotations

import socket

import pytest

from tests.support.node import LiveNode
from tests.support.raw import Answer, ask, ask_all, wire

APP = """
import asyncio

ANSWERS = {
    "/plain": (200, [], [b"hello"]),
    "/long": (200, [(b"content-length", b"10")], [b"hello"]),
    "/short": (200, [(b"content-length", b"3")], [b"hello"]),
    "/long-stream": (200, [(b"content-length", b"10")], [b"abc", b"def", b""]),
    "/short-stream": (200, [(b"content-length", b"4")], [b"abc", b"def", b""]),
    "/chunked-length": (200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"3")],
                        [b"hello"]),
    "/two-lengths": (200, [(b"content-length", b"3"), (b"content-length", b"5")], [b"hello"]),
    "/gzip-coding": (200, [(b"transfer-encoding", b"gzip")], [b"hello"]),
    "/hop": (200, [(b"connection", b"close, x-private"), (b"x-private", b"1"), (b"upgrade", b"h2c"),
                   (b"keep-alive", b"timeout=1"), (b"trailer", b"x"), (b"x-public", b"2")],
             [b"hello"]),
    "/clock": (200, [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")],
               [b"hello"]),
    "/cookies": (200, [(b"set-cookie", b"b=2"), (b"x", b"1"), (b"set-cookie", b"a=1"),
                       (b"set-cookie", b"b=3; Path=/")], [b"hello"]),
    "/others-cookies": (200, [(b"set-cookie", b"mine=1; Domain=answers.localhost"),
                              (b"set-cookie", b"all=1; Domain=localhost"),
                              (b"Set-Cookie", b"bank=1; domain=.bank.example")], [b"hello"]),
    "/forged": (200, [(b"waypost-ray", b"forged"), (b"waypost-outcome", b"forged"),
                      (b"Waypost_Code", b"forged")], [b"hello"]),
    "/gzip": (200, [(b"content-encoding", b"gzip")], [bytes(range(256))]),
    "/204": (204, [(b"content-length", b"5")], [b"hello"]),
    "/205": (205, [(b"content-length", b"5")], [b"hello"]),
    "/205-stream": (205, [], [b"abc", b"def", b""]),
    "/zeros": (200, [(b"content-length", b"0006")], [b"abc", b"def", b""]),
    "/304": (304, [(b"content-length", b"5"), (b"etag", b"x")], [b"hello"]),
    "/599": (599, [], [b"hello"]),
    "/stream": (200, [], [b"abc", b"def", b""]),
    "/splitting": (200, [(b"x", b"1\\r\\nset-cookie: stolen=1")], [b"hello"]),
    "/name": (200, [(b"x\\r\\nset-cookie", b"1")], [b"hello"]),
    "/many": (200, [(b"x", b"1")] * 300, [b"hello"]),
    "/large": (200, [(b"x", b"1" * 140_000)], [b"hello"]),
    "/100": (100, [], [b""]),
    "/101": (101, [], [b""]),
    "/999": (999, [], [b""]),
    "/half": (200, [], [b"abc", None]),
    "/slow-stream": (200, [], [b"abc", b"def", b""]),
}

SLOW = ("/half", "/long-stream", "/short-stream", "/slow-stream")
seen = asyncio.Event()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] in SLOW:
        seen.clear()
    if scope["path"] == "/seen":
        seen.set()
        scope = {**scope, "path": "/plain"}
    if scope["path"] == "/range":
        found = [value for name, value in scope["headers"] if name == b"range"]
        status, headers, chunks = 206, [(b"content-range", b"bytes 0-1/5")], found
    else:
        status, headers, chunks = ANSWERS[scope["path"]]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for chunk, following in zip(chunks, [*chunks[1:], False]):
        if chunk is not None:
            more = following is not False
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
            if scope["path"] in SLOW:
                # What comes in one go can still become an error page.
                await seen.wait()
"""


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    """The tenants' port, with a tenant behind it that answers in many ways."""
    node.deploy("answers", APP, plan="enterprise", limits={"instances": 1})
    return node.started.tenant_port


def request(path: str, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: answers.localhost\r\n\r\n".encode()


def get(port: int, path: str, method: str = "GET") -> Answer:
    """Ask, and make sure that the next request on the connection gets its own answer."""
    with wire(port) as connection:
        connection.send(request(path, method))
        answer = connection.answer(method)
        connection.send(request("/plain"))
        assert connection.answer().body == b"hello"
    return answer


@pytest.mark.parametrize("path", ["/long", "/short", "/chunked-length", "/many", "/large"])
def test_an_answer_that_is_not_what_its_head_says_is_the_tenants_fault(
    port: int, path: str
) -> None:
    answer = get(port, path)
    assert (answer.status, answer.code) == (502, "bad_response")
    assert answer.get("waypost-outcome") == "exception"


@pytest.mark.parametrize("path", ["/long-stream", "/short-stream", "/half"])
def test_an_answer_that_goes_wrong_under_way_is_cut(port: int, path: str) -> None:
    with wire(port) as connection:
        connection.send(request(path))
        assert connection.socket.recv(1, socket.MSG_PEEK)
        assert ask(port, request("/seen")).status == 200
        (answer,) = connection.answers()
    assert answer.status == 200
    assert not answer.whole


@pytest.mark.parametrize("path", ["/splitting", "/name", "/100", "/101", "/999"])
def test_an_answer_that_is_not_http_never_leaves(port: int, path: str) -> None:
    answer = get(port, path)
    assert answer.status in (500, 502)
    assert answer.code in ("1101", "bad_response")
    assert not answer.all("set-cookie")


@pytest.mark.parametrize("path", ["/two-lengths", "/gzip-coding", "/599"])
def test_framing_is_the_platforms(port: int, path: str) -> None:
    answer = get(port, path)
    assert answer.body == b"hello"
    assert answer.get("content-length") == "5"
    assert not answer.all("transfer-encoding")


def test_hop_by_hop_fields_stay_behind(port: int) -> None:
    answer = get(port, "/hop")
    assert answer.get("x-public") == "2"
    for name in ("x-private", "connection", "upgrade", "keep-alive", "trailer"):
        assert not answer.all(name)


def test_cookies_keep_their_number_and_order(port: int) -> None:
    assert get(port, "/cookies").all("set-cookie") == ["b=2", "a=1", "b=3; Path=/"]


def test_cookies_for_other_tenants_are_dropped_and_the_tail_says_so(
    node: LiveNode, port: int
) -> None:
    with node.tail("answers") as tail:
        answer = ask(port, request("/others-cookies"))
        assert answer.all("set-cookie") == ["mine=1; Domain=answers.localhost"]
        (event,) = tail.wait()
    assert [line["level"] for line in event["logs"]] == ["warn", "warn"]
    assert "'all' is for the domain 'localhost'" in event["logs"][0]["message"][0]
    assert "'bank' is for the domain 'bank.example'" in event["logs"][1]["message"][0]


def test_one_clock_and_no_forged_platform_fields(port: int) -> None:
    clock = get(port, "/clock")
    assert "1970" not in clock.get("date")
    assert clock.get("server") == "mine"
    forged = get(port, "/forged")
    assert forged.get("waypost-ray") != "forged"
    assert not forged.all("waypost-outcome")
    assert not forged.all("waypost_code")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/204", "/304"])
def test_statuses_without_a_body_have_none(port: int, path: str, method: str) -> None:
    answer = get(port, path, method)
    assert answer.status == int(path[1:])
    assert not answer.all("content-length")
    assert not answer.all("transfer-encoding")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/205", "/205-stream"])
def test_nothing_to_show_has_no_bytes(port: int, path: str, method: str) -> None:
    answer = get(port, path, method)
    assert (answer.status, answer.get("content-length"), answer.body) == (205, "0", b"")
    assert not answer.all("transfer-encoding")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_length_is_written_as_a_number_is(port: int, method: str) -> None:
    assert get(port, "/zeros", method).get("content-length") == "6"


@pytest.mark.parametrize("path", ["/plain", "/long", "/stream", "/gzip"])
def test_head_has_no_body(port: int, path: str) -> None:
    answer = get(port, path, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.get("content-length") == ("10" if path == "/long" else "")


def test_bodies_and_ranges_pass_untouched(port: int) -> None:
    gzip = get(port, "/gzip")
    assert (gzip.get("content-encoding"), gzip.body) == ("gzip", bytes(range(256)))
    ranged = request("/range").replace(b"\r\n\r\n", b"\r\nRange: bytes=0-1\r\n\r\n")
    answer = ask(port, ranged)
    assert (answer.status, answer.body) == (206, b"bytes=0-1")
    assert answer.get("content-range") == "bytes 0-1/5"


@pytest.mark.parametrize("path", ["/plain", "/stream"])
def test_a_client_that_wants_no_more_is_told_goodbye(port: int, path: str) -> None:
    for _ in range(2):
        with wire(port) as connection:
            connection.send(request(path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = connection.answer()
            assert (answer.status, answer.whole, answer.get("connection")) == (200, True, "close")
            assert connection.socket.recv(1) == b""


def old(path: str, fields: str = "", method: str = "GET") -> bytes:
    """A request in HTTP/1.0."""
    data = request(path, method, version="1.0")
    return data.replace(b"\r\n\r\n", f"\r\n{fields}\r\n".encode())


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "Connection: keep-alive, close\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n",
        "Proxy-Connection: keep-alive\r\n",
    ],
)
def test_http10_gets_no_chunks_and_is_told_goodbye(port: int, fields: str) -> None:
    for path, body in (("/plain", b"hello"), ("/stream", b"abcdef")):
        (answer,) = ask_all(port, old(path, fields))
        assert (answer.status, answer.body, answer.whole) == (200, body, True)
        assert answer.get("connection") == "close"
        assert not answer.all("transfer-encoding")


def test_http10_may_ask_to_stay_where_answers_tell_their_length(port: int) -> None:
    stay = "Connection: Keep-Alive\r\n"
    with wire(port) as connection:
        for path, method, body in (
            ("/plain", "GET", b"hello"),
            ("/long", "HEAD", b""),
            ("/nowhere", "GET", None),
            ("/205", "GET", b""),
            ("/plain", "POST", b"hello"),
        ):
            connection.send(old(path, stay, method))
            answer = connection.answer(method)
            assert answer.get("connection") == "keep-alive", path
            assert body in (answer.body, None)
        connection.send(old("/slow-stream", stay))
        assert connection.socket.recv(1, socket.MSG_PEEK)
        assert ask(port, request("/seen")).status == 200
        (answer,) = connection.answers()
        assert (answer.body, answer.whole, answer.get("connection")) == (b"abcdef", True, "close")
        assert not answer.all("transfer-encoding")


def test_http10_can_tell_a_cut_answer_from_a_whole_one(port: int) -> None:
    with wire(port) as connection:
        connection.send(request("/half", version="1.0"))
        assert connection.socket.recv(1, socket.MSG_PEEK)
        assert ask(port, request("/seen")).status == 200
        answer = connection.answer()
        assert not answer.whole
