"""Trusted proxies: who is believed about what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.forwarded import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
NONE = TrustedProxies([])


def chain(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"a.example"), (b"x-forwarded-for", value)]


def test_without_proxies_the_peer_is_the_client_and_its_claims_are_gone() -> None:
    claims = [
        (b"host", b"a.example:8787"),
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"evil.example"),
        (b"x-real-ip", b"1.1.1.1"),
        (b"forwarded", b"for=1.1.1.1"),
        (b"x-app", b"1"),
    ]
    for proxies in (NONE, PROXIES):
        seen = proxies.resolve("203.0.113.9", "http", claims)
        assert (seen.client, seen.scheme, seen.authority) == (
            "203.0.113.9",
            "http",
            "a.example:8787",
        )
        assert not seen.trusted
        assert seen.headers == [
            (b"host", b"a.example:8787"),
            (b"x-app", b"1"),
            (b"x-forwarded-for", b"203.0.113.9"),
            (b"x-forwarded-proto", b"http"),
            (b"x-forwarded-host", b"a.example:8787"),
        ]


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"198.51.100.1", "198.51.100.1"),
        (b"6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (b"6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (b"6.6.6.6, unknown", "10.0.0.1"),
        (b"6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        (b"198.51.100.1:4711", "198.51.100.1"),
        (b"[2001:db8::1]:4711", "2001:db8::1"),
        (b"2001:DB8::1, fd00::2", "2001:db8::1"),
        (b"::ffff:198.51.100.1", "198.51.100.1"),
        (b"", "10.0.0.1"),
        (b",,", "10.0.0.1"),
    ],
)
def test_the_rightmost_address_that_is_not_ours(value: bytes, client: str) -> None:
    assert PROXIES.resolve("10.0.0.1", "http", chain(value)).client == client


def test_a_trusted_proxy_is_believed_about_scheme_and_host() -> None:
    seen = PROXIES.resolve(
        "::ffff:10.0.0.1",
        "http",
        [
            (b"host", b"inner"),
            (b"x-forwarded-host", b"spoofed.example, shop.example"),
            (b"x-forwarded-proto", b"http, HTTPS"),
        ],
    )
    assert (seen.scheme, seen.authority, seen.trusted) == ("https", "shop.example", True)
    assert (b"x-forwarded-host", b"shop.example") in seen.headers


def test_a_scheme_that_is_none_is_ignored() -> None:
    fields = [(b"host", b"a"), (b"x-forwarded-proto", b"javascript")]
    assert PROXIES.resolve("10.0.0.1", "http", fields).scheme == "http"


def test_several_fields_are_one_chain() -> None:
    fields = [*chain(b"6.6.6.6"), (b"x-forwarded-for", b"198.51.100.1")]
    assert PROXIES.resolve("10.0.0.1", "http", fields).client == "198.51.100.1"


@given(st.text(max_size=40), st.binary(max_size=80))
def test_a_stranger_is_never_anybody_else(peer: str, value: bytes) -> None:
    seen = NONE.resolve(peer, "http", chain(value))
    assert seen.client == peer
    assert not seen.trusted


@given(st.binary(max_size=80))
def test_any_chain_gives_an_address(value: bytes) -> None:
    assert PROXIES.resolve("10.0.0.1", "http", chain(value)).client
