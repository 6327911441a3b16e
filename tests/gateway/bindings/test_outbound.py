"""Subrequests against real servers: what goes out, what comes back, what is refused."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gateway.bindings.hops import Hops
from gateway.bindings.outbound import MAX_REDIRECTS, STEPS, Outbound, OutboundError
from gateway.bindings.requests import MAX_REPLAY
from gateway.config import Egress
from sandbox.payloads import FetchedHead, FetchHead

pytestmark = pytest.mark.anyio

LOCAL = Egress(allow_private=True, timeout_seconds=5.0)
Connect = Callable[..., Outbound]


class ScriptedNames:
    """A resolver that answers from a table, a different address each time when it lists many."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): list(found) for name, found in names.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        found = self.names[host]
        return [found.pop(0) if len(found) > 1 else found[0]]

    def close(self) -> None:
        pass


HOPS = Hops(b"key")


@pytest.fixture
async def connect(anyio_backend: str) -> AsyncIterator[Connect]:
    made: list[Outbound] = []

    def make(config: Egress = LOCAL, **given: Any) -> Outbound:
        made.append(Outbound(config, hops=HOPS, **given))
        return made[-1]

    yield make
    for outbound in made:
        await outbound.close()


async def get(
    outbound: Outbound,
    url: str,
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    body: AsyncIterator[bytes] | None = None,
    redirect: str = "follow",
) -> tuple[FetchedHead, bytes]:
    head = FetchHead(0, method, url, list(headers), redirect)
    response = await outbound.fetch(head, body)
    try:
        return response.head, b"".join([chunk async for chunk in response.chunks()])
    finally:
        await response.close()


async def refused(outbound: Outbound, url: str, *headers: tuple[bytes, bytes], **how: Any) -> str:
    with pytest.raises(OutboundError) as caught:
        await get(outbound, url, *headers, **how)
    assert caught.value.message
    return caught.value.code


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_plain_answer(connect: Connect, origin: Any) -> None:
    head, body = await get(connect(), f"{origin.url}/a?b=c#d", (b"X-App", b" 1 "))
    assert (head.status, head.status_text, head.redirected) == (200, "OK", False)
    assert head.url == f"{origin.url}/a?b=c"
    assert head.headers == [(b"content-type", b"text/plain")]
    assert body == b"hello "
    method, path, fields, _ = origin.seen[0]
    assert (method, path) == ("GET", "/a")
    assert fields == {
        "host": f"127.0.0.1:{origin.port}",
        "x-app": "1",
        "accept-encoding": "gzip, deflate",
        "waypost-hops": HOPS.write(1).decode(),
    }


async def test_what_a_tenant_cannot_say(connect: Connect, origin: Any) -> None:
    names = [b"Host", b"Connection", b"Transfer-Encoding", b"Waypost-Ray", b"Proxy-Authorization"]
    await get(connect(), origin.url, *[(name, b"evil") for name in names])
    assert origin.seen[0][2] == {
        "host": f"127.0.0.1:{origin.port}",
        "accept-encoding": "gzip, deflate",
        "waypost-hops": HOPS.write(1).decode(),
    }


async def test_a_body_streams_out(connect: Connect, origin: Any) -> None:
    chunks = [b"x" * 50_000] * 10
    _, body = await get(connect(), origin.url, method="post", body=stream(*chunks))
    assert len(body) == 6 + 500_000
    assert origin.seen[0][0] == "POST"
    assert origin.seen[0][2]["transfer-encoding"] == "chunked"


async def test_a_body_of_known_length(connect: Connect, origin: Any) -> None:
    outbound = connect()
    length = (b"Content-Length", b"5")
    _, body = await get(outbound, origin.url, length, method="PUT", body=stream(b"12", b"345"))
    assert body == b"hello 12345"
    assert origin.seen[0][2]["content-length"] == "5"
    for wrong in (b"1234", b"123456"):
        code = await refused(outbound, origin.url, length, method="PUT", body=stream(wrong))
        assert code == "bad_request"
    await get(outbound, origin.url, method="POST")
    assert origin.seen[-1][2]["content-length"] == "0"


async def test_an_answer_streams_in_before_it_is_complete(connect: Connect) -> None:
    sent, read = anyio.Event(), anyio.Event()

    async def serve(client: anyio.abc.SocketStream) -> None:
        async with client:
            await client.receive()
            await client.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            await read.wait()
            await client.send(b"3\r\ntwo\r\n0\r\n\r\n")
            sent.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            head = FetchHead(0, "GET", f"http://127.0.0.1:{port}", [])
            response = await connect().fetch(head, None)
            chunks = response.chunks()
            assert await anext(chunks) == b"one"
            assert not sent.is_set()
            read.set()
            assert [chunk async for chunk in chunks] == [b"two"]
            await response.close()
            await response.close()
            tasks.cancel_scope.cancel()


async def test_encodings_are_undone_only_when_not_asked_for(connect: Connect, origin: Any) -> None:
    packed = gzip.compress(b"plain")
    origin.reply("/", 200, ("Content-Encoding", "gzip"), body=packed)
    outbound = connect()
    head, body = await get(outbound, origin.url)
    assert (body, head.headers) == (b"plain", [])
    head, body = await get(outbound, origin.url, (b"accept-encoding", b"gzip"))
    assert (body, head.headers) == (packed, [(b"content-encoding", b"gzip")])
    head, body = await get(outbound, origin.url, method="HEAD")
    assert (body, head.headers) == (b"", [(b"content-encoding", b"gzip")])


async def test_cookies_of_one_tenant_are_not_sent_for_another(
    connect: Connect, origin: Any
) -> None:
    origin.reply("/", 200, ("Set-Cookie", "session=1"))
    outbound = connect()
    for _ in range(2):
        head, _ = await get(outbound, origin.url)
        assert head.headers == [(b"set-cookie", b"session=1")]
    assert all("cookie" not in seen[2] for seen in origin.seen)


async def test_proxies_and_passwords_of_the_host_are_not_used(
    connect: Connect, origin: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    head, _ = await get(connect(), origin.url)
    assert head.status == 200
    assert "authorization" not in origin.seen[0][2]


@pytest.mark.parametrize(
    ("status", "method", "becomes", "body"),
    [
        (301, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (303, "PUT", "GET", b""),
        (307, "POST", "POST", b"form"),
        (308, "PUT", "PUT", b"form"),
        (302, "PUT", "PUT", b"form"),
    ],
)
async def test_redirects_with_a_body(
    connect: Connect, origin: Any, status: int, method: str, becomes: str, body: bytes
) -> None:
    origin.reply("/from", status, ("Location", "/to?x=1"))
    head, _ = await get(
        connect(),
        f"{origin.url}/from",
        (b"content-type", b"text/plain"),
        (b"authorization", b"mine"),
        method=method,
        body=stream(b"fo", b"rm"),
    )
    assert head.redirected
    assert head.url == f"{origin.url}/to?x=1"
    seen = origin.seen[1]
    assert (seen[0], seen[3]) == (becomes, body)
    assert ("content-type" in seen[2]) == bool(body)
    assert seen[2]["authorization"] == "mine"


async def test_a_long_body_is_not_sent_again(connect: Connect, origin: Any) -> None:
    origin.reply("/", 307, ("Location", "/to"))
    body = stream(b"x" * MAX_REPLAY, b"x")
    assert await refused(connect(), origin.url, method="POST", body=body) == "redirect"
    assert len(origin.seen) == 1


async def test_credentials_do_not_follow_to_another_origin(connect: Connect, origin: Any) -> None:
    outbound = connect(
        resolver=ScriptedNames(other_test=["127.0.0.1"], **{"127_0_0_1": ["127.0.0.1"]})
    )
    origin.reply("/from", 302, ("Location", f"http://other.test:{origin.port}/to"))
    secrets = [(b"authorization", b"mine"), (b"cookie", b"a=1"), (b"x-app", b"1")]
    await get(outbound, f"{origin.url}/from", *secrets)
    assert origin.seen[0][2]["authorization"] == "mine"
    assert origin.seen[1][2] == {
        "host": f"other.test:{origin.port}",
        "x-app": "1",
        "accept-encoding": "gzip, deflate",
        "waypost-hops": HOPS.write(1).decode(),
    }


async def test_manual_and_error_redirects(connect: Connect, origin: Any) -> None:
    origin.reply("/", 302, ("Location", "http://169.254.169.254/"))
    head, _ = await get(connect(), origin.url, redirect="manual")
    assert (head.status, head.redirected) == (302, False)
    assert (b"location", b"http://169.254.169.254/") in head.headers
    assert await refused(connect(), origin.url, redirect="error") == "redirect"
    assert await refused(connect(), origin.url, redirect="nonsense") == "bad_request"


async def test_redirects_without_end(connect: Connect, origin: Any) -> None:
    origin.reply("/", 302, ("Location", "/"))
    assert await refused(connect(), origin.url) == "too_many_redirects"
    assert len(origin.seen) == MAX_REDIRECTS + 1


async def test_a_redirect_without_location_is_an_answer(connect: Connect, origin: Any) -> None:
    origin.reply("/", 301)
    head, _ = await get(connect(), origin.url)
    assert head.status == 301


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "egress_denied"),
        ("http://[fd00:ec2::254]/", "egress_denied"),
        ("http://[::ffff:a9fe:a9fe]/", "egress_denied"),
        ("http://2852039166/", "egress_denied"),
        ("http://0xa9fea9fe/", "egress_denied"),
        ("file:///etc/passwd", "bad_url"),
        ("gopher://127.0.0.1:6379/_x", "bad_url"),
        ("http://user:pass@127.0.0.1/", "bad_url"),
        ("http://a:99999/", "bad_url"),
    ],
)
async def test_redirects_that_lead_astray(
    connect: Connect, origin: Any, location: str, code: str
) -> None:
    origin.reply("/", 302, ("Location", location))
    assert await refused(connect(), origin.url) == code
    assert len(origin.seen) == 1


@pytest.mark.parametrize("target", ["127.0.0.1", "10.0.0.1"])
async def test_a_redirect_to_a_private_address(connect: Connect, origin: Any, target: str) -> None:
    listed = Egress(allow=("127.0.0.2/32",))
    names = ScriptedNames(public_test=["127.0.0.2"], **{target.replace(".", "_"): [target]})
    origin.reply("/", 302, ("Location", f"http://{target}:{origin.port}/inside"))
    with socket.create_server(("127.0.0.2", 0)) as relay:
        port = relay.getsockname()[1]

        def answer() -> None:
            client, _ = relay.accept()
            with client:
                client.recv(65536)
                where = f"http://{target}:{origin.port}/inside".encode()
                client.sendall(
                    b"HTTP/1.1 302 F\r\nlocation: " + where + b"\r\ncontent-length: 0\r\n\r\n"
                )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, answer)
            outbound = connect(listed, resolver=names)
            assert await refused(outbound, f"http://public.test:{port}/") == "egress_denied"
    assert names.asked == ["public.test", target]
    assert origin.seen == []


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]"],
)
async def test_the_gateways_own_host_is_refused_in_every_spelling(
    connect: Connect, origin: Any, host: str
) -> None:
    assert await refused(connect(Egress()), f"http://{host}:{origin.port}/") == "egress_denied"
    assert origin.seen == []


async def test_a_name_that_changes_its_mind_is_resolved_once(connect: Connect, origin: Any) -> None:
    names = ScriptedNames(rebind_test=["203.0.113.1", "127.0.0.1"])
    assert (
        await refused(connect(Egress(), resolver=names), "http://rebind.test/") == "egress_denied"
    )
    names = ScriptedNames(rebind_test=["127.0.0.1", "169.254.169.254"])
    head, _ = await get(connect(LOCAL, resolver=names), f"http://rebind.test:{origin.port}/")
    assert head.status == 200
    assert names.asked == ["rebind.test"]
    assert origin.seen[0][2]["host"] == f"rebind.test:{origin.port}"


async def test_denials_do_not_tell_addresses(connect: Connect) -> None:
    names = ScriptedNames(db_corp_test=["10.11.12.13"])
    with pytest.raises(OutboundError) as caught:
        await get(connect(Egress(), resolver=names), "http://db.corp.test/")
    assert "10.11" not in caught.value.message


async def test_failures_have_their_codes(connect: Connect, origin: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    names = ScriptedNames()
    assert await refused(connect(resolver=names), "http://absent.test/") == "dns_failed"
    outbound = connect()
    assert await refused(outbound, f"http://127.0.0.1:{closed}/") == "connect_failed"
    assert await refused(outbound, f"https://127.0.0.1:{origin.port}/") == "tls_failed"


async def test_a_silent_server_times_out(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        config = Egress(allow_private=True, timeout_seconds=0.05)
        assert await refused(connect(config), url) == "timeout"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
async def test_a_certificate_that_nobody_vouches_for(connect: Connect, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    await anyio.run_process(command.split(), stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            client, _ = listener.accept()
            with client, pytest.raises(ssl.SSLError):
                context.wrap_socket(client, server_side=True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, serve)
            with pytest.raises(OutboundError) as caught:
                await get(connect(), f"https://127.0.0.1:{port}/")
    assert caught.value.code == "tls_failed"
    assert "self-signed" in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 999 ?\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 100 \r\n\r\n" * 17 + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a:\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:\n" * 400 + b"\r\n",
    ],
)
async def test_answers_that_are_not_http(connect: Connect, raw: Any, answer: bytes) -> None:
    raw.answer = answer
    assert await refused(connect(), raw.url) == "protocol_error"


async def test_interim_responses_are_passed_over(connect: Connect, raw: Any) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    raw.answer = hints * 16 + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert (await get(connect(), raw.url))[1] == b"ok"


@pytest.mark.parametrize("size", [1, 15, 16, 4096, 200_000])
async def test_chunks_of_any_size_are_read(connect: Connect, raw: Any, size: int) -> None:
    # Lines like those before chunks, and like trailers, that are content.
    content = (b"0\r\n" + b"a: b\r\n" * 50_000)[: 50 * size]
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    chunked = b"".join(b"%X;x=y\r\n%b\r\n" % (len(part), part) for part in parts)
    head = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding:  chunked\r\n\r\n"
    raw.answer = head + chunked + b"000\r\nx-trailer: " + b"t" * 5000 + b"\r\n\r\n"
    assert (await get(connect(), raw.url))[1] == content


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        (b"transfer-encoding: chunked", b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n"),
        (b"content-encoding: gzip", gzip.compress(b"") * 4000),
    ],
)
async def test_an_answer_in_tiny_pieces_leaves_the_loop_to_others(
    connect: Connect, raw: Any, coding: bytes, sent: bytes
) -> None:
    raw.answer = b"HTTP/1.1 200 OK\r\n" + coding + b"\r\n\r\n" + sent
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    response = await connect().fetch(FetchHead(0, "GET", raw.url, [], "follow"), None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        body = b"".join([chunk async for chunk in response.chunks()])
        tasks.cancel_scope.cancel()
    await response.close()
    assert body == b"x" * sent.count(b"x\r")
    # The first beginning of a turn is free.
    assert turns > 4000 // (2 * STEPS)


async def test_framing_of_an_answer_does_not_reach_the_tenant(connect: Connect, raw: Any) -> None:
    raw.answer = (
        b"HTTP/1.1 200 " + b"r" * 500 + b"\r\nX-A: 1\r\nConnection: close\r\nKeep-Alive: x\r\n"
        b"Waypost-Ray: forged\r\nContent-Length: 2\r\n\r\nok"
    )
    head, body = await get(connect(), raw.url)
    assert head.headers == [(b"x-a", b"1"), (b"content-length", b"2")]
    assert len(head.status_text) == 128
    assert body == b"ok"


@pytest.mark.parametrize(
    ("url", "headers", "method", "code"),
    [
        ("ftp://a.test/", [], "GET", "bad_url"),
        ("/relative", [], "GET", "bad_url"),
        ("", [], "GET", "bad_url"),
        ("http://", [], "GET", "bad_url"),
        ("http://a.test:0/", [], "GET", "bad_url"),
        ("http://a\x00.test/", [], "GET", "bad_url"),
        ("http://a.test/" + "x" * 20_000, [], "GET", "bad_url"),
        ("http://a.test/\r\nx: y", [], "GET", "bad_url"),
        ("http://xn--" + "a" * 100, [], "GET", "bad_url"),
        ("http://a.test/" + "\u00e9" * 15_000, [], "GET", "bad_url"),
        ("http://a.test/", [], "CONNECT", "bad_request"),
        ("http://a.test/", [], "trace", "bad_request"),
        ("http://a.test/", [], "GET / HTTP/1.1\r\n", "bad_request"),
        ("http://a.test/", [], "", "bad_request"),
        ("http://a.test/", [(b"a b", b"c")], "GET", "bad_request"),
        ("http://a.test/", [(b"a", b"b\r\nc: d")], "GET", "bad_request"),
        ("http://a.test/", [(b"a", b"b" * 200_000)], "GET", "bad_request"),
        ("http://a.test/", [(b"a", b"b")] * 257, "GET", "bad_request"),
    ],
)
async def test_requests_that_are_not_sent(
    connect: Connect, url: str, headers: list[tuple[bytes, bytes]], method: str, code: str
) -> None:
    names = ScriptedNames(a_test=["127.0.0.1"])
    assert await refused(connect(resolver=names), url, *headers, method=method) == code
    assert names.asked == []


async def test_a_get_has_no_body(connect: Connect, origin: Any) -> None:
    assert await refused(connect(), origin.url, body=stream(b"x")) == "bad_request"


async def test_a_subrequest_that_is_cancelled_frees_its_connection(connect: Connect) -> None:
    outbound = connect()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, outbound, url)
            client, _ = await anyio.to_thread.run_sync(silent.accept)
            with client:
                await anyio.to_thread.run_sync(client.recv, 65536)
                tasks.cancel_scope.cancel()
    assert "0 active" in repr(outbound)
