"""Bytes that two servers may read apart, against a reader that is strict, cut in all places."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from tests.support.heard import Listener, Seen, run
from tests.support.strict import End, read

HOST = b"Host: a.localhost\r\n"
GET = b"GET /get HTTP/1.1\r\n" + HOST
POST = b"POST /post HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
H2C = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: b.localhost\r\n\r\n"
LEGAL = [
    GET + b"\r\n",
    POST + b"Content-Length: 5\r\n\r\nhello",
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"content-length:\t00000000000000000005 \r\n\r\nhello",
    GET + b"Content-Length: 2\r\n\r\nxx",
    CHUNKED + b"5\r\nhello\r\n0003;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    CHUNKED + b'1;a="b;\\"c"\r\nx\r\n0;d\r\nHost: c.localhost\r\n\r\n',
    POST + b"Transfer-Encoding: Chunked\r\n" + H2C + b"\r\n3\r\nabc\r\n0\r\n\r\n",
    POST + H2C + b"Content-Length: 3\r\n\r\nabc",
    GET + H2C + b"\r\n",
    POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    GET + b"Connection: keep-alive\r\n\r\n",
    GET + b"Connection: x, Close\r\n\r\n",
    b"HEAD /head HTTP/1.1\r\n" + HOST + b"X:\r\nY: \xe9\t!\r\n\r\n",
    b"GET http://a.localhost/?q HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /old HTTP/1.0\r\n" + HOST + b"\r\n",
    b"POST /old HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /old HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
    b"\r\n\r\n" + GET + b"\r\n",
]
CODINGS = (
    b"chunked|CHUNKED|chunked,|,chunked|chunked, chunked|chunked, identity|identity|gzip, chunked|"
    b"xchunked|chunkedx|chunked;q=1|chunked gzip|'chunked'|\"chunked\"||chun\x00ked|\xefchunked|"
    b"\x0bchunked|\xa0chunked|chunked\x0c|chunked\x85|\r\n chunked|chunked\r\n\t|trailers"
).split(b"|")
LENGTHS = (
    b"5|+5|-5|05|5,5|5, 5|5 5|5;5|0x5|5.0|5e0|5_0|0b1|0o5||0|-0|\xd9\xa5|\xef\xbc\x95|5\x00|5\x0b|"
    b"\x0c5|00000000000000000000005|18446744073709551616|18446744073709551621|\r\n 5"
).split(b"|")
CHUNKS = (
    b'5|05|00000000000000000005|+5|-5|0x5| 5|5 |5\t|\t5|5 ;a|5; a|5;a|5;a=b|5;a="b|'
    b'5;a=";"|5;=|5;;|5,a|5;a\x00|5;a\x0b|5;a\x7f|5;a\xff|5;a="\xff"|5;a b|5\r|5;a\r|5;a\n|'
    b'5;a\rb|5;a\nb|g|5g||FFFFFFFFFFFFFFFF5|10000000000000005|8000000000000005|5_|5.|5;a="\r\n"|\xef\xbc\x95'
).split(b"|")
ENDS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r\n",
    b"",
    b" \r\n",
    b"\r\n\r\n",
    b"\rX",
    b"\x0b\r\n",
]
FIELDS = (
    b"X: y|X : y|X\t: y| X: y|\tX: y|X|: x|X\x00: y|X: \x00|X: a\rb|X: a\nb|X: a\r\n b|X(: y|"
    b"X_Y: z|X\xe9: y|Content-Length: 5|Content-Length : 5|Content-Length\x0b: 5|Content_Length: 5|"
    b"Transfer-Encoding: chunked|Transfer-Encoding : chunked|Transfer-Encoding\x00: chunked|"
    b"Transfer_Encoding: chunked|Connection: close|Upgrade: h2c|Connection: Content-Length|"
    b"Connection: upgrade|Proxy-Connection: close|Host: c.localhost|Expect: 100-continue|Expect: x|"
    b"X: y\r\n\r\nX: z"
).split(b"|")
LINES = (
    b"GET /|GET / HTTP/0.9|GET / HTTP/1.2|GET / HTTP/2.0|GET / HTTP/1|GET / HTTP/11|GET / http/1.1|"
    b"GET / HTTP/1.1 x|GET / HTTP/1.1 |GET\t/ HTTP/1.1|GET /\tHTTP/1.1| GET / HTTP/1.1|"
    b"GET / /x HTTP/1.1|GET /\x00 HTTP/1.1|GET /\xe9 HTTP/1.1|GET /\r HTTP/1.1|GET /\n HTTP/1.1|"
    b"G\x00ET / HTTP/1.1|get / HTTP/1.1|GET /#x HTTP/1.1|GET * HTTP/1.1|OPTIONS * HTTP/1.1|"
    b"TRACE / HTTP/1.1|CONNECT a:1 HTTP/1.1|PRI * HTTP/2.0|GET //x HTTP/1.1|GET /.. HTTP/1.1|"
    b"GET \\ HTTP/1.1|GET ? HTTP/1.1|GET http://b.localhost/ HTTP/1.1|GET http: HTTP/1.1|"
    b"GET http://x@a.localhost/ HTTP/1.1|GET ftp://a.localhost/ HTTP/1.1|GET  /  HTTP/1.1|"
    b"GET / FOO/1.1|SOURCE / ICE/1.0|\x16\x03\x01\x02|\x05\x01\x00|PROXY TCP4 1.2.3.4 5.6.7.8 1 2"
).split(b"|")
PLACES = [
    GET + b"X%bY: z\r\n\r\n",
    GET + b"%bX: z\r\n\r\n",
    GET + b"X: y\r%b\r\n",
    b"GET /a%bb HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET%b/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /a HTTP/1.1%b\r\n" + HOST + b"\r\n",
    POST + b"Content-Length: 5%b\r\n\r\nhello",
    POST + b"Content-Length%b: 5\r\n\r\nhello",
    POST + b"Transfer-Encoding:%bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5%b\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5;a%b\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nhello\r%b0\r\n\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\nX%b: y\r\n\r\n",
]
PIECES = [
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\x00",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"5",
        b"f",
        b"=",
    ),
    *(
        b'"',
        b"\\",
        b"-",
        b"+",
        b"\xff",
        b"\x0b",
        b"/",
        b"#",
        b"@",
        b"chunked",
        b"0\r\n\r\n",
        b"GET ",
    ),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", H2C),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Expect: 100-continue\r\n", HOST),
]
MUTATIONS = 3000


def _check(data: bytes, seen: Seen) -> None:
    """Nothing is served that a strict reader does not see; what is refused ends the connection."""
    asked, end = read(data)
    paths = [request._replace(target=_path(request.target)) for request in asked]
    assert seen.served == paths[: len(seen.served)], data
    refused = seen.statuses[len(seen.served) :]
    assert seen.statuses[: len(seen.served)] == [200] * len(seen.served), data
    if refused:
        assert len(refused) == 1, data
        assert 400 <= refused[0] < 500, data
        assert seen.ended, data
    else:
        assert len(seen.served) == len(asked), data
        assert end is not End.NONE, data
        assert seen.ended == (end is End.LAST), data


def _path(target: bytes) -> bytes:
    """Of a target that may be an absolute URL."""
    path = re.sub(rb"^[a-zA-Z]+://[^/?]*", b"", target)
    return path if path.startswith(b"/") else b"/" + path


def _attacks() -> Iterator[bytes]:
    for coding in CODINGS:
        named, length = b"Transfer-Encoding: " + coding + b"\r\n", b"Content-Length: 5\r\n"
        plain = b"Transfer-Encoding: chunked\r\n"
        for head in (named, named + length, length + named, named + plain, plain + named):
            yield POST + head + b"\r\n0\r\n\r\n"
        yield POST.replace(b"1.1", b"1.0") + named + b"\r\n0\r\n\r\n"
    for length in LENGTHS:
        named, plain = b"Content-Length: " + length + b"\r\n", b"Content-Length: 5\r\n"
        for head in (named, H2C + named, named + plain, plain + named):
            yield POST + head + b"\r\nhello"
        yield GET + named + b"\r\nhello"
    for chunk in CHUNKS:
        yield CHUNKED + chunk + b"\r\nhello\r\n0\r\n\r\n"
        yield CHUNKED + b"5\r\nhello\r\n" + chunk.replace(b"5", b"0") + b"\r\n\r\n"
        yield POST + H2C + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"\r\nhello\r\n0\r\n\r\n"
    for end in ENDS:
        yield CHUNKED + b"5" + end + b"hello\r\n0\r\n\r\n"
        yield CHUNKED + b"5\r\nhello" + end + b"0\r\n\r\n"
        yield CHUNKED + b"5\r\nhello\r\n0" + end + b"\r\n"
        yield CHUNKED + b"5\r\nhello\r\n0\r\n" + end
        yield GET + b"X: y" + end + b"Y: z\r\n\r\n"
        yield GET + end
        yield b"GET / HTTP/1.1" + end + HOST + b"\r\n"
        yield POST + b"Content-Length: 5\r\n\r\nhello" + end
        yield end + GET + b"\r\n"
    for field in FIELDS:
        yield GET + field + b"\r\n\r\n"
        yield b"GET / HTTP/1.1\r\n" + field + b"\r\n" + HOST + b"\r\n"
        yield POST + field + b"\r\nContent-Length: 5\r\n\r\nhello"
        yield CHUNKED + b"5\r\nhello\r\n0\r\n" + field + b"\r\n\r\n"
    for line in LINES:
        yield line + b"\r\n" + HOST + b"\r\n"
        yield line + b"\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"


def test_what_is_legal_is_served_wherever_it_is_cut() -> None:
    async def play() -> None:
        listener = Listener()
        for message in LEGAL:
            data = message + NEXT
            whole = await listener.hear([data])
            assert len(whole.served) == len(read(data)[0]), data
            _check(data, whole)
            for at in range(1, len(data)):
                assert await listener.hear([data[:at], data[at:]]) == whole, (data, at)

    run(play())


def test_many_at_once_are_served_in_order() -> None:
    async def play() -> None:
        listener = Listener()
        data = 6 * b"".join(message for message in LEGAL if read(message)[1] is End.OPEN)
        for size in (len(data), 4000, 2049, 700, 1):
            seen = await listener.hear([data[at : at + size] for at in range(0, len(data), size)])
            assert len(seen.served) == len(read(data)[0])
            _check(data, seen)

    run(play())


@pytest.mark.parametrize("first", [b"", GET + b"\r\n"], ids=["alone", "behind another"])
def test_what_is_ambiguous_reaches_nobody_however_it_comes(first: bytes) -> None:
    async def play() -> None:
        listener = Listener()
        for attack in _attacks():
            data = first + attack + NEXT
            whole = await listener.hear([data])
            _check(data, whole)
            step = 1 if not first else 7
            cut = [data[at : at + step] for at in range(0, len(data), step)]
            assert await listener.hear(cut) == whole, data

    run(play())


@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
def test_any_byte_at_the_joints_of_a_message(place: bytes) -> None:
    async def play() -> None:
        listener = Listener()
        for byte in range(256):
            data = place.replace(b"%b", bytes([byte])) + NEXT
            _check(data, await listener.hear([data]))

    run(play())


def _mutated(dice: random.Random) -> bytes:
    """Some legal messages, with a few things inserted, cut out or repeated."""
    data = bytearray(b"".join(dice.choices(LEGAL, k=dice.randint(1, 4))))
    for _ in range(dice.randint(1, 3)):
        at, piece = dice.randrange(len(data)), dice.choice(PIECES)
        kind = dice.randrange(4)
        if kind == 0:
            data[at:at] = piece
        elif kind == 1:
            data[at : at + len(piece)] = piece
        elif kind == 2:
            del data[at : at + dice.randint(1, 3)]
        else:
            data[at:at] = data[at : at + dice.randint(1, 60)]
    return bytes(data)


def test_messages_changed_at_random() -> None:
    async def play() -> None:
        dice, listener = random.Random(11), Listener()  # noqa: S311 - the same ones each time
        for _ in range(MUTATIONS):
            data = _mutated(dice) + NEXT
            whole = await listener.hear([data])
            _check(data, whole)
            ends = sorted({*dice.choices(range(1, len(data)), k=3), len(data)})
            cut = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            assert await listener.hear(cut) == whole, (data, ends)

    run(play())
