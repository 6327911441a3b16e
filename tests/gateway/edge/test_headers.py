"""Header rules in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.headers import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    check_response,
    clean_request_headers,
)
from gateway.errors import BadRequest, BadResponse, HeadersTooLarge


def test_what_a_tenant_sees_of_a_plain_request() -> None:
    raw = [(b"host", b"a.example"), (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    assert clean_request_headers(raw) == raw


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy",
        b"waypost-ray",
        b"waypost-",
        b"x_forwarded_for",
    ],
)
def test_fields_that_never_reach_a_tenant(name: bytes) -> None:
    kept = clean_request_headers([(b"host", b"a"), (name, b"x"), (b"accept", b"b")])
    assert kept == [(b"host", b"a"), (b"accept", b"b")]


def test_fields_named_by_connection_go_with_it() -> None:
    raw = [(b"x-hop", b"1"), (b"connection", b"close, X-Hop"), (b"x-other", b"2"), (b"x-b", b"3")]
    assert clean_request_headers([*raw, (b"connection", b"x-b")]) == [(b"x-other", b"2")]


def test_connection_cannot_remove_what_names_the_client() -> None:
    raw = [(b"host", b"a"), (b"x-forwarded-for", b"1.2.3.4"), (b"authorization", b"t")]
    named = (b"connection", b"host, x-forwarded-for, authorization, close")
    assert clean_request_headers([*raw, named]) == raw


@pytest.mark.parametrize("name", [b"host", b"authorization", b"content-type"])
def test_what_there_is_one_of_comes_once(name: bytes) -> None:
    once = [(name, b"a"), (b"cookie", b"a"), (b"cookie", b"b")]
    assert clean_request_headers(once) == once
    with pytest.raises(BadRequest):
        clean_request_headers([*once, (name, b"b")])


def test_too_many_and_too_large() -> None:
    with pytest.raises(HeadersTooLarge):
        clean_request_headers([(b"a", b"")] * (MAX_HEADERS + 1))
    with pytest.raises(HeadersTooLarge):
        clean_request_headers([(b"a", b"x" * MAX_HEADER_BYTES)])
    assert clean_request_headers([(b"a", b"x" * (MAX_HEADER_BYTES - 1))])


def test_an_answer_is_brought_to_form() -> None:
    answer = [
        (b"Content-Type", b" text/plain\t"),
        (b"Content-Length", b"12"),
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"Connection", b"close"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Waypost-Ray", b"forged"),
        (b"x-latin", b"caf\xe9"),
    ]
    assert check_response(200, answer) == [
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x-latin", b"caf\xe9"),
        (b"content-length", b"12"),
    ]


def test_a_tenant_gives_no_orders_to_the_proxy_in_front() -> None:
    orders = [(b"X-Accel-Redirect", b"/internal/x"), (b"X-Sendfile", b"/etc/passwd")]
    hints = [(b"x-accel-buffering", b"no")]
    assert check_response(200, orders + hints) == hints


@pytest.mark.parametrize("status", [-1, 0, 100, 101, 199, 600, True, 200.0, "200", None, 10**30])
def test_statuses_that_are_none(status: object) -> None:
    with pytest.raises(BadResponse):
        check_response(status, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field",
    [
        (b"", b"x"),
        (b"a b", b"x"),
        (b"a:", b"x"),
        (b"a\r\nb", b"x"),
        (b"caf\xe9", b"x"),
        (b"n" * 257, b"x"),
        (b"a", b"x\r\nset-cookie: y"),
        (b"a", b"x\ny"),
        (b"a", b"x\x00"),
        (b"a", b"\x7f"),
    ],
)
def test_response_splitting_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(BadResponse):
        check_response(200, [field])


@pytest.mark.parametrize(
    ("status", "values"),
    [
        (200, [b"1", b"1"]),
        (200, [b"1", b"2"]),
        (200, [b"+1"]),
        (200, [b"1,1"]),
        (200, [b""]),
        (200, [b"1" * 19]),
        (204, [b"0"]),
        (304, [b"5"]),
    ],
)
def test_a_doubtful_content_length_is_dropped(status: int, values: list[bytes]) -> None:
    assert check_response(status, [(b"content-length", value) for value in values]) == []


def test_answers_that_are_too_large() -> None:
    with pytest.raises(BadResponse):
        check_response(200, [(b"a", b"")] * (MAX_HEADERS + 1))
    with pytest.raises(BadResponse):
        check_response(200, [(b"a", b"x" * MAX_HEADER_BYTES)])


@given(st.integers(), st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20))))
def test_whatever_is_let_through_is_http(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    try:
        checked = check_response(status, headers)
    except BadResponse:
        return
    for name, value in checked:
        assert name == name.lower()
        assert name.isascii()
        assert not set(name) & set(b' \t\r\n:\x00"')
        assert not set(value) & set(b"\r\n\x00")
