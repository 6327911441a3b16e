"""Bodies cost a tenant's CPU budget no more than its own code does."""

from __future__ import annotations

import threading
import zlib

import pytest

from tests.support.node import LiveNode
from tests.support.raw import Answer, wire

MIB = 1 << 20
SIZE = 64 * MIB
APP = """
import asyncio, os, struct, zlib

BLOCK = bytes(1 << 18)

WORDS = b"".join(b"%08d" % at for at in range(1 << 15))

async def tell(scope, send):
    seed, size, count, declared = map(int, scope["query_string"].split(b","))
    headers = [(b"content-length", b"%d" % declared)] if declared else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in range(count):
        begin = 8 * ((seed + part) % 1000)
        body = WORDS[begin : begin + size]
        await send({"type": "http.response.body", "body": body, "more_body": True})
    if scope["path"] == "/die":
        await asyncio.sleep(0)
        length = int(dict(scope["headers"])[b"length"])
        if length:
            # Behind the platform's back: a frame that does not come whole, or that may not be.
            os.write(3, struct.pack("<IBBHI", length, 7, 0, 0, 2) + b"x" * 1000)
        os._exit(0)
    await send({"type": "http.response.body", "body": b""})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] in ("/tell", "/die"):
        await tell(scope, send)
        return
    size, crc, more = 0, 0, True
    while more:
        message = await receive()
        body = message.get("body", b"")
        size += len(body)
        crc = zlib.crc32(body, crc) if scope["path"] == "/sum" else 0
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/sum":
        await send({"type": "http.response.body", "body": b"%d %d" % (size, crc)})
        return
    for _ in range(256 if scope["path"] == "/down" else 0):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    if scope["path"] == "/burn":
        for _ in range(16):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        while True:
            pass
    await send({"type": "http.response.body", "body": b"%d" % size})
"""


@pytest.fixture(scope="module")
def port(node: LiveNode) -> int:
    node.deploy("bodies", APP)
    return node.started.tenant_port


def test_a_large_download_fits_the_smallest_plan(node: LiveNode, port: int) -> None:
    with node.tail("bodies") as tail, wire(port) as connection:
        connection.send(b"GET /down HTTP/1.1\r\nHost: bodies.localhost\r\n\r\n")
        assert len(connection.answer().body) == SIZE + 1
        (event,) = tail.wait()
    assert event["outcome"] == "ok"


def test_uploads_as_large_as_the_plan_takes_them(node: LiveNode, port: int) -> None:
    body = bytes(10 * MIB)
    head = f"POST / HTTP/1.1\r\nHost: bodies.localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with wire(port) as connection:
        for _ in range(5):
            connection.send(head.encode() + body)
            assert connection.answer().body == b"%d" % len(body)


def test_what_was_granted_for_bytes_does_not_last(node: LiveNode, port: int) -> None:
    cpu_ms = []
    for _ in range(3):  # the least of a few: a machine that stands still lets it burn on
        with node.tail("bodies") as tail, wire(port) as connection:
            connection.send(b"GET /burn HTTP/1.1\r\nHost: bodies.localhost\r\n\r\n")
            connection.rest()
            (event,) = tail.wait()
        assert event["outcome"] == "exceededCpu"
        cpu_ms.append(event["cpuTime"])
    assert min(cpu_ms) < 80


def told(port: int, seed: int, size: int, count: int, declared: int = 0) -> Answer:
    with wire(port) as connection:
        query = f"{seed},{size},{count},{declared}"
        connection.send(f"GET /tell?{query} HTTP/1.1\r\nHost: bodies.localhost\r\n\r\n".encode())
        return connection.answer()


def expected(seed: int, size: int, count: int) -> bytes:
    words = b"".join(b"%08d" % at for at in range(1 << 15))
    begins = (8 * ((seed + part) % 1000) for part in range(count))
    return b"".join(words[begin : begin + size] for begin in begins)


@pytest.mark.parametrize("size", [20_000, 65_536, 200_000])
def test_two_large_answers_at_once_keep_their_bytes_apart(
    node: LiveNode, port: int, size: int
) -> None:
    count = 4 * MIB // size
    answers: dict[int, Answer] = {}

    def ask(seed: int, declared: int) -> None:
        answers[seed] = told(port, seed, size, count, declared)

    framed = size * count
    threads = [threading.Thread(target=ask, args=asked) for asked in ((1, 0), (50, framed))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 50):
        assert answers[seed].whole
        assert answers[seed].body == expected(seed, size, count)


@pytest.mark.parametrize("over", [8, -8])
def test_a_large_answer_that_is_not_as_long_as_it_says_is_cut(
    node: LiveNode, port: int, over: int
) -> None:
    size, count = 65_536, 16
    declared = size * count - over
    with node.tail("bodies") as tail:
        answer = told(port, 1, size, count, declared)
        (event,) = tail.wait()
    assert not answer.whole
    assert len(answer.body) < declared
    assert event["outcome"] != "ok"


@pytest.mark.parametrize("declared", [0, 64 * MIB])
@pytest.mark.parametrize("length", [0, 60_000, 1 << 30])
def test_a_client_never_takes_for_whole_what_its_instance_did_not_end(
    node: LiveNode, port: int, length: int, declared: int
) -> None:
    size, count = 65_536, 64
    with node.tail("bodies") as tail, wire(port) as connection:
        head = f"GET /die?1,{size},{count},{declared} HTTP/1.1\r\nHost: bodies.localhost\r\n"
        connection.send(f"{head}Length: {length}\r\n\r\n".encode())
        answer = connection.answer()
        (event,) = tail.wait()
    assert not answer.whole
    whole = expected(1, size, count)
    assert answer.body[: len(whole)] == whole[: len(answer.body)]
    assert set(answer.body[len(whole) :]) <= set(b"x")
    assert event["outcome"] in ("responseStreamDisconnected", "internalError")


def test_what_follows_a_large_answer_on_its_connection_is_an_answer_of_its_own(
    node: LiveNode, port: int
) -> None:
    size, count = 65_536, 64
    with wire(port) as connection:
        for seed, declared in ((1, size * count), (2, 0), (3, size * count)):
            query = f"{seed},{size},{count},{declared}"
            connection.send(
                f"GET /tell?{query} HTTP/1.1\r\nHost: bodies.localhost\r\n\r\n".encode()
            )
            assert connection.answer().body == expected(seed, size, count)


@pytest.mark.parametrize("sizes", [[2 * MIB], [1, 70_000, 3, 16_384, 200_000, 5] * 5])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_arrives_as_it_was_sent(
    node: LiveNode, port: int, sizes: list[int], chunked: bool
) -> None:
    whole = b"".join(b"%08d" % at for at in range(sum(sizes) // 8 + 1))[: sum(sizes)]
    parts, at = [], 0
    for size in sizes:
        parts.append(whole[at : at + size])
        at += size
    if chunked:
        parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(whole)}"
    with wire(port) as connection:
        head = f"POST /sum HTTP/1.1\r\nHost: bodies.localhost\r\n{framing}\r\n\r\n"
        connection.send(head.encode())
        for part in parts:
            connection.send(part)
        assert connection.answer().body == b"%d %d" % (len(whole), zlib.crc32(whole))
