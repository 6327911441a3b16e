"""HTTP as hostile clients send it: framing, targets and hosts that two servers may read apart."""

from __future__ import annotations

import gc
import select
import socket
from contextlib import ExitStack

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.edge.connection import HttpConnection
from tests.support.node import LiveNode
from tests.support.raw import LATE, ask, ask_all, wire
from tests.support.served import wait_until

ECHO = """
import json
from workers import Response

async def on_fetch(request):
    body = await request.text()
    headers = dict(request.headers.items())
    return Response(json.dumps({"who": WHO, "url": request.url, "method": request.method,
                                "headers": headers, "body": body}))
"""
HOST = b"Host: alpha.localhost\r\n"
POST = b"POST /echo HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /echo HTTP/1.1\r\n" + HOST
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    """The tenants' port, with two tenants behind it."""
    for name in ("alpha", "beta"):
        node.deploy(name, ECHO.replace("WHO", repr(name)), plan="enterprise")
    return node.started.tenant_port


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b'Transfer-Encoding: "chunked"\r\n',
        b"Transfer-Encoding: \r\nContent-Length: 4\r\n",
        b"Transfer-Encoding\x00: chunked\r\n",
        b"Content-Length: 4\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: -4\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: 4 4\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: " + b"0" * 5000 + b"4\r\n",
        b"Content-Length: " + b"0" * 5000 + b"\r\n",
    ],
    ids=range(24),
)
def test_ambiguous_framing_is_refused_and_nothing_after_it_served(port: int, head: bytes) -> None:
    answers = ask_all(port, POST + head + b"\r\n0\r\n\r\n" + HIDDEN)
    assert [(answer.status, answer.code) for answer in answers] == [(400, "bad_request")]
    assert answers[0].get("connection") == "close"
    assert answers[0].get("waypost-ray")


def test_http10_has_no_chunks(port: int) -> None:
    data = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"5\r\nhello\r\n0\r\n\r\n"
    assert [answer.status for answer in ask_all(port, data + HIDDEN)] == [400]


@pytest.mark.parametrize(
    "chunks",
    [
        b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a=" + b"b" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"".join(b"1;" + b"e" * 500 + b"\r\nx\r\n" for _ in range(2000)) + b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-Endless: " + b"t" * 1_000_000,
        b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
        b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n",
        b"5\r\nhello\r\n0\r\nproxy-connection: close\r\n\r\n",
        b"5\r\nhello\r\n0\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=range(15),
)
def test_broken_chunks_are_the_clients_fault(port: int, chunks: bytes) -> None:
    answers = ask_all(port, CHUNKED + chunks + HIDDEN)
    assert [(answer.status, answer.code) for answer in answers] == [(400, "bad_request")]
    assert ask(port, GET + b"\r\n").json["who"] == "alpha"


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"7fffffffffffffff", b"000100000000;a=b"])
@pytest.mark.parametrize("before", [b"", b"5\r\nhello\r\n"])
@pytest.mark.parametrize("together", [True, False])
def test_a_chunk_that_no_body_may_have_is_not_waited_for(
    port: int, size: bytes, before: bytes, together: bool
) -> None:
    head = CHUNKED + before + size
    parts = [head + b"\r\nhello"] if together else [head[:-3], head[-3:] + b"\r", b"\n"]
    with wire(port) as connection:
        for part in parts:
            connection.send(part)
        answer = connection.answer()
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_that_breaks_while_the_tenant_reads_it(node: LiveNode, port: int) -> None:
    with node.tail("alpha") as tail, wire(port) as connection:
        connection.send(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.send(b"5\r\nhello\r\nnonsense\r\n" + HIDDEN)
        answers = connection.answers()
        (event,) = tail.wait(1)
    assert [(answer.status, answer.code) for answer in answers] == [(400, "bad_request")]
    assert (event["outcome"], event["waypost"]["code"]) == ("unknown", "bad_request")
    assert ask(port, GET + b"\r\n").json["who"] == "alpha"


@pytest.mark.parametrize(
    "chunks",
    [
        b'2;a=b;c="d;e"\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
        b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"000\r\n\r\n",
    ],
)
def test_chunks_as_the_standard_has_them(port: int, chunks: bytes) -> None:
    assert ask(port, CHUNKED + chunks).json["body"] == "hello"


def test_trailers_cannot_pose_as_headers(port: int) -> None:
    trailers = b"Host: beta.localhost\r\nAuthorization: forged\r\nX-Forwarded-For: 8.8.8.8\r\n"
    answer = ask(port, CHUNKED + b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n")
    assert answer.json["who"] == "alpha"
    assert answer.json["body"] == "hello"
    assert "authorization" not in answer.json["headers"]
    assert answer.json["headers"]["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize(
    "field",
    [
        b"X: a\r\n b",
        b" X: a",
        b"X : a",
        b"X Y: a",
        b": a",
        b"no-colon",
        b"X(y): a",
        b"X\xc3\xa9: a",
        b"X\x00: a",
        b"X: a\x00b",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X: a\x1b[31m",
        b"X: a\rb: c",
        b"X: a\nb: c",
    ],
)
def test_fields_that_are_none(port: int, field: bytes) -> None:
    answers = ask_all(port, b"GET /echo HTTP/1.1\r\n" + field + b"\r\n" + HOST + b"\r\n")
    assert [(answer.status, answer.code) for answer in answers] == [(400, "bad_request")]
    assert b"This is not HTTP/1.1: " in answers[0].body


def test_values_keep_tabs_and_bytes_and_lose_the_space_around(port: int) -> None:
    answer = ask(port, GET + b"X: \t a\tb\xc3\xa9 \t\r\n\r\n")
    assert answer.json["headers"]["x"] == "a\tb\u00c3\u00a9"


@pytest.mark.parametrize(
    "line",
    [
        b"GET /echo HTTP/0.9",
        b"GET /echo HTTP/1.2",
        b"GET /echo HTTP/2.0",
        b"PRI * HTTP/2.0",
        b"GET /echo http/1.1",
        b"GET /echo HTTP/1.1 ",
        b"GET\t/echo\tHTTP/1.1",
        b"GET /echo x HTTP/1.1",
        b"GET /echo\x00 HTTP/1.1",
        b"GET /\xe2\x82\xac HTTP/1.1",
        b"GET /echo#fragment HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET echo HTTP/1.1",
        b"GET ftp://alpha.localhost/ HTTP/1.1",
        b"GET http://user@alpha.localhost/ HTTP/1.1",
        b"GET http:///echo HTTP/1.1",
        b"GET http://beta.localhost/echo HTTP/1.1",
        b"FOO /echo HTTP/1.1",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00",
    ],
)
def test_request_lines_that_are_refused(port: int, line: bytes) -> None:
    answers = ask_all(port, line + b"\r\n" + HOST + b"\r\n" + HIDDEN)
    assert [(answer.status, answer.code) for answer in answers] == [(400, "bad_request")]


@pytest.mark.parametrize(
    "line",
    [b"CONNECT alpha.localhost:443 HTTP/1.1", b"TRACE / HTTP/1.1", b"DESCRIBE / RTSP/1.0"],
)
def test_methods_that_reach_no_tenant(port: int, line: bytes) -> None:
    (answer,) = ask_all(port, line + b"\r\n" + HOST + b"Cookie: secret\r\n\r\n" + HIDDEN)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert "GET" in answer.get("allow")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (b"http://alpha.localhost/echo?q", "http://alpha.localhost/echo?q"),
        (b"HTTP://ALPHA.localhost:80/", "http://alpha.localhost/"),
        (b"http://alpha.localhost", "http://alpha.localhost/"),
        (b"http://alpha.localhost?q", "http://alpha.localhost/?q"),
        (b"//beta.localhost/echo", "http://alpha.localhost//beta.localhost/echo"),
        (b"/a/../../etc/passwd", "http://alpha.localhost/a/../../etc/passwd"),
        (b"/%E2%82%AC%2F%00?%zz", "http://alpha.localhost/%E2%82%AC%2F%00?%zz"),
    ],
)
def test_targets_reach_the_tenant_as_they_are(port: int, target: bytes, url: str) -> None:
    answer = ask(port, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (answer.json["who"], answer.json["url"]) == ("alpha", url)


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        HOST + HOST,
        HOST + b"Host: beta.localhost\r\n",
        b"Host: \r\n",
        b"Host: user@alpha.localhost\r\n",
        b"Host: alpha .localhost\r\n",
        b"Host: alpha.localhost beta.localhost\r\n",
        b"Host: alpha.localhost,beta.localhost\r\n",
        b"Host: alpha.localhost:99999\r\n",
        b"Host: alpha.localhost:-1\r\n",
        b"Host: alpha.localhost/x\r\n",
        b"Host: alpha..localhost\r\n",
        b"Host: %61lpha.localhost\r\n",
        b"Host: alpha\xe3\x80\x82localhost\r\n",
        b"Host: \xef\xbd\x81lpha.localhost\r\n",
        b"Host: alpha\xc2\xad.localhost\r\n",
        b"Host: " + b"a" * 5000 + b"\r\n",
    ],
    ids=range(17),
)
def test_hosts_that_name_nobody_end_the_connection(port: int, hosts: bytes) -> None:
    answers = ask_all(port, b"GET /echo HTTP/1.1\r\n" + hosts + b"\r\n" + HIDDEN)
    assert [(answer.status, answer.code) for answer in answers] == [(400, "bad_request")]
    assert answers[0].get("connection") == "close"


def test_an_old_client_may_name_the_host_in_the_target_only(port: int) -> None:
    target = b"GET http://alpha.localhost/echo HTTP/1."
    assert ask(port, target + b"0\r\n\r\n").json["who"] == "alpha"
    assert ask(port, target + b"1\r\n\r\n").status == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 3_000_000, 414),
        (GET + b"".join(b"X-%d: y\r\n" % i for i in range(10_000)) + b"\r\n", 431),
        (GET + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
        (GET + b"X: " + b"y" * 3_000_000, 431),
        (GET + b"y" * 3_000_000, 431),
        (GET + b"X: y\r\n" * 500_000, 431),
        (GET + b"X: y\r\n" * 300, 431),
        (b"\r\n" * 300_000, 431),
    ],
    ids=range(9),
)
def test_heads_without_end_are_refused_while_they_come(port: int, data: bytes, status: int) -> None:
    assert ask(port, data).status == status


def test_large_heads_that_do_not_end_are_few_at_a_time(port: int) -> None:
    large = GET + b"X: " + b"y" * 130_000
    with ExitStack() as stack:
        held = [stack.enter_context(wire(port, "127.0.0.7")) for _ in range(40)]
        for connection in held:
            connection.send(large)
        # Together they are more than one address may hold.
        assert select.select([connection.socket for connection in held], [], [], LATE)[0]
        other = stack.enter_context(wire(port, "127.0.0.8"))
        small = stack.enter_context(wire(port, "127.0.0.7"))
        for connection, data in ((other, large), (small, GET + b"X: y")):
            connection.send(data + b"\r\n\r\n")
            assert connection.answer().json["who"] == "alpha"
        for connection in held:
            connection.send(b"\r\n\r\n")
        statuses = [connection.answer().status for connection in held]
    assert statuses.count(431) >= 1
    assert statuses.count(200) >= 25
    assert set(statuses) == {200, 431}


@pytest.mark.parametrize("head", [GET, POST + b"Content-Length: 0\r\n", GET + b"Expect: x\r\n"])
def test_nothing_is_kept_of_a_large_head_that_was_answered(port: int, head: bytes) -> None:
    with wire(port) as connection:
        client = connection.socket.getsockname()
        for filler in (b"y" * 100_000, b"y"):
            connection.send(head + b"X: " + filler + b"\r\n\r\n")
            assert connection.answer().json["headers"]["x"] == filler.decode()
            wait_until(lambda: bytes_kept(client) < 1000)


def bytes_kept(client: tuple[str, int]) -> int:
    """What a connection holds of its client's heads."""
    found = [one for one in gc.get_objects() if type(one) is HttpConnection]
    [ours] = [one for one in found if one.client == client]
    kept = [ours.headers, ours.last_head.raw or []]
    if isinstance(ours.cycle, RequestResponseCycle):
        kept.append(list(ours.cycle.scope["headers"]))
    return sum(len(value) for headers in kept for _, value in headers)


def test_the_control_port_is_as_strict(node: LiveNode) -> None:
    port = node.started.api_port
    smuggling = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert [answer.status for answer in ask_all(port, POST + smuggling + HIDDEN)] == [400]
    assert ask(port, GET + b"X: " + b"y" * 3_000_000).status == 431
    endless = CHUNKED.replace(b"/echo", b"/v1/tenants") + b"ffffffffffffffff\r\n"
    assert ask(port, endless).status in (401, 413)
    broken = CHUNKED.replace(b"/echo", b"/v1/tenants") + b"zz\r\n"
    assert ask(port, broken).status in (400, 401)


# One connection, many requests


def test_pipelined_requests_of_different_tenants_are_answered_in_order(port: int) -> None:
    names = [b"alpha" if i % 3 else b"beta" for i in range(30)]
    requests = [
        b"GET /%d HTTP/1.1\r\nHost: %s.localhost\r\n\r\n" % (i, name)
        for i, name in enumerate(names)
    ]
    with wire(port) as connection:
        connection.send(b"".join(requests))
        for i, name in enumerate(names):
            answer = connection.answer().json
            assert (answer["who"], answer["url"].rpartition("/")[2]) == (name.decode(), str(i))


def test_many_more_requests_than_may_wait_are_all_answered_in_order(port: int) -> None:
    large, chunk = b"l" * 40_000, b"c" * 5_000
    kinds = (
        GET.replace(b"/echo", b"/%d") + b"\r\n",
        POST.replace(b"/echo", b"/%d") + b"Content-Length: 40000\r\n\r\n" + large,
        CHUNKED.replace(b"/echo", b"/%d") + b"1388\r\n" + chunk + b"\r\n0\r\n\r\n",
    )
    bodies = ["", large.decode(), chunk.decode()]
    order = [(number % 70 == 1) + 2 * (number % 90 == 2) for number in range(500)]
    with wire(port) as connection:
        connection.send(b"".join(kinds[kind] % number for number, kind in enumerate(order)))
        for number, kind in enumerate(order):
            answer = connection.answer().json
            assert answer["url"].endswith(f"/{number}")
            assert answer["body"] == bodies[kind]
        connection.send(GET + b"\r\n")
        assert connection.answer().status == 200


def test_the_last_answer_arrives_however_much_was_sent_after_it(port: int) -> None:
    refused = GET.replace(b"alpha", b"al..pha") + b"\r\n"
    for last, status in ((GET + b"Connection: close\r\n\r\n", 200), (refused, 400)):
        answers = ask_all(port, last + HIDDEN * 3000)
        assert [answer.status for answer in answers] == [status]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_it_does_not_matter_where_the_packets_end(port: int, size: int) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    data = b"".join(
        [
            POST + b"Content-Length: 5\r\n\r\nfirst",
            CHUNKED + b'3;a="b"\r\nsec\r\n3\r\nond\r\n0\r\nHost: beta.localhost\r\n\r\n',
            POST + upgrade + b"Content-Length: 5\r\n\r\nthird",
            b"GET http://alpha.localhost/echo HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        ]
    )
    with wire(port) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
        answers = connection.answers()
    assert [answer.json["body"] for answer in answers] == ["first", "second", "third", ""]
    assert {answer.json["who"] for answer in answers} == {"alpha"}


def test_junk_after_a_request_does_not_take_its_answers_place(port: int) -> None:
    first, second = ask_all(port, GET + b"\r\n" + b"JUNK\r\n\r\n")
    assert (first.status, first.json["who"]) == (200, "alpha")
    assert (second.status, second.code) == (400, "bad_request")


def test_more_body_than_announced_is_the_next_request(port: int) -> None:
    first, second = ask_all(port, POST + b"Content-Length: 3\r\n\r\nhello")
    assert first.json["body"] == "hel"
    assert second.status == 400


@pytest.mark.parametrize("together", [True, False])
def test_an_upgrade_that_is_not_taken_loses_nothing(port: int, together: bool) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    parts = [
        POST + upgrade + b"Content-Length: 5\r\n\r\n",
        b"hello",
        POST + upgrade + b"Transfer-Encoding: chunked\r\n\r\n",
        b"5\r\nworld\r\n0\r\n\r\n",
        GET + upgrade + b"\r\n",
        GET + b"\r\n",
    ]
    with wire(port) as connection:
        for part in [b"".join(parts)] if together else parts:
            connection.send(part)
        bodies = [connection.answer().json["body"] for _ in range(4)]
    assert bodies == ["hello", "world", "", ""]


def test_a_body_is_asked_for_before_it_is_sent(port: int) -> None:
    with wire(port) as connection:
        connection.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        interim = connection.socket.recv(100)
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(b"hello")
        assert connection.answer().json["body"] == "hello"
        connection.send(GET + b"\r\n")
        assert connection.answer().status == 200


def test_nothing_is_asked_for_where_nothing_comes(port: int) -> None:
    with wire(port) as connection:
        for length in (b"", b"Content-Length: 0\r\n"):
            connection.send(POST + b"Expect: 100-continue\r\n" + length + b"\r\n")
            assert connection.answer().status == 200


def test_an_old_client_is_not_told_to_continue(port: int) -> None:
    head = POST.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    (answer,) = ask_all(port, head + b"hello")
    assert (answer.status, answer.json["body"]) == (200, "hello")


def test_what_follows_the_last_answer_of_a_connection_is_not_acted_on(
    node: LiveNode, port: int
) -> None:
    with node.tail("alpha") as tail:
        with wire(port) as connection:
            head = POST.replace(b"alpha", b"nobody") + b"Expect: 100-continue\r\n"
            connection.send(head + b"Content-Length: 5\r\n\r\n")
            answer = connection.answer()
            assert (answer.status, answer.get("connection")) == (404, "close")
            # The server's end is open for a moment, so that the answer is not lost.
            connection.send(b"hello" + HIDDEN)
            assert connection.rest() == b""
        assert ask(port, GET + b"\r\n").status == 200
        (event,) = tail.wait(1)
        assert event["event"]["request"]["url"].endswith("/echo")


def test_a_body_that_is_too_large_is_not_asked_for(port: int) -> None:
    (answer,) = ask_all(port, POST + b"Expect: 100-continue\r\nContent-Length: 900000000\r\n\r\n")
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert ask(port, POST + b"Content-Length: 9223372036854775808\r\n\r\n").status == 413
