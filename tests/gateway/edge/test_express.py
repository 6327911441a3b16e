"""What the short way of an answer writes, remembers and leaves to the long way."""

from __future__ import annotations

import pytest

from gateway.config import Routing
from gateway.edge import express
from gateway.edge.head import HeadReader, LastHead
from gateway.errors import BadRequest
from gateway.model.http import HeaderList
from sandbox.payloads import ResponseHead

PLAIN: HeaderList = [(b"Content-Type", b"text/plain"), (b"X-One", b"1")]


def test_fields_leave_checked_and_without_their_length() -> None:
    answers = express.Answers()
    fields = answers.fields(
        ResponseHead(200, [*PLAIN, (b"content-length", b"5"), (b"waypost-ray", b"forged")])
    )
    assert fields == express.Fields(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-one: 1\r\n", 5
    )
    assert answers.fields(ResponseHead(200, PLAIN)) == express.Fields(fields.lines, None)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (204, PLAIN),
        (304, PLAIN),
        (700, PLAIN),
        (200, [(b"set-cookie", b"a=1")]),
        (200, [(b"x", b"a\r\nset-cookie: b=1")]),
        (200, [(b"x y", b"1")]),
    ],
)
def test_what_needs_care_goes_the_long_way_every_time(status: int, headers: HeaderList) -> None:
    answers = express.Answers()
    assert answers.fields(ResponseHead(status, headers)) is None
    assert answers.fields(ResponseHead(status, headers)) is None


def test_status_and_every_field_tell_answers_apart() -> None:
    answers = express.Answers()
    first = answers.fields(ResponseHead(200, PLAIN))
    assert answers.fields(ResponseHead(200, [PLAIN[0]])) != first
    assert answers.fields(ResponseHead(200, [PLAIN[0], (b"X-One", b"2")])) != first
    assert answers.fields(ResponseHead(204, PLAIN)) is None
    assert answers.fields(ResponseHead(200, PLAIN)) == first


def test_the_servers_own_fields_are_written_anew_when_they_change() -> None:
    answers = express.Answers()
    assert answers.own_lines([(b"date", b"one")]) == b"date: one\r\n"
    assert answers.own_lines([(b"date", b"two"), (b"a", b"b")]) == b"date: two\r\na: b\r\n"


def test_what_is_remembered_is_bounded() -> None:
    answers = express.Answers()
    long = b"v" * express.MAX_KEPT_BYTES
    assert answers.fields(ResponseHead(200, [(b"x", long)])) is not None
    assert answers.remembered == 0
    for number in range(express.MAX_KEPT + 10):
        answers.fields(ResponseHead(200, [(b"x", b"%d" % number)]))
    assert 0 < answers.remembered <= express.MAX_KEPT


def test_a_head_is_read_again_only_when_it_differs() -> None:
    reader = HeadReader(Routing(), lambda _: 0)
    last = LastHead()
    raw = [(b"host", b"one.localhost"), (b"accept", b"text/html")]
    peer = ("192.0.2.1", 1)
    head = reader.read_again(raw, "http", peer, last)
    assert head.host == "one.localhost"
    assert reader.read_again(list(raw), "http", peer, last) is head
    other = reader.read_again([(b"host", b"two.localhost"), raw[1]], "http", peer, last)
    assert other.host == "two.localhost"
    with pytest.raises(BadRequest):
        reader.read_again([raw[1]], "http", peer, last)
    assert reader.read_again(raw, "http", peer, last).host == "one.localhost"
