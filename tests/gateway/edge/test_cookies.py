"""No tenant sets cookies that browsers would send to another."""

from __future__ import annotations

import pytest

from gateway.config import Routing
from gateway.edge.cookies import MAX_NOTES, CookieRule

RULE = CookieRule(Routing(base_domain="apps.example.com", functions_domain="fn.example.net"))
BELOW = "acme.apps.example.com"
OWN = "www.shop.org"


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        (BELOW, BELOW),
        (BELOW, ""),
        (OWN, OWN),
        (OWN, "shop.org"),
        (OWN, ".shop.org"),
        (OWN, "SHOP.org"),
        ("a.b.shop.co.uk", "shop.co.uk"),
        ("a.b.shop.co.uk", "b.shop.co.uk"),
        ("me.github.io", "me.github.io"),
    ],
)
def test_a_host_sets_cookies_for_itself_and_its_own_parents(host: str, domain: str) -> None:
    field = (b"set-cookie", b"a=b; Path=/; Domain=%s; Secure" % domain.encode())
    assert RULE.apply(host, [field]) == ([field], [])


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        (BELOW, "apps.example.com"),
        (BELOW, ".apps.example.com"),
        (BELOW, ".Apps.Example.COM"),
        (BELOW, "example.com"),
        (BELOW, "com"),
        (BELOW, "other.apps.example.com"),
        (BELOW, "x.acme.apps.example.com"),
        ("deep.acme.apps.example.com", "acme.apps.example.com"),
        ("apps.example.com", "apps.example.com"),
        # A custom hostname beside the platform: the parent is the tenants' parent, too.
        ("shop.example.com", "example.com"),
        ("fn.example.net", "fn.example.net"),
        ("fn.example.net", "example.net"),
        (OWN, "bank.org"),
        (OWN, "org"),
        (OWN, "evilshop.org"),
        (OWN, "hop.org"),
        (OWN, "shop.org."),
        (OWN, '"shop.org"'),
        (OWN, "\uff53\uff48\uff4f\uff50.org"),
        ("shop.co.uk", "co.uk"),
        ("shop.com.au", "com.au"),
        ("me.github.io", "github.io"),
        ("me.workers.dev", "workers.dev"),
    ],
)
def test_a_host_sets_no_cookies_for_others(host: str, domain: str) -> None:
    good = (b"set-cookie", b"kept=1")
    bad = (b"set-cookie", b"session=x; path=/; dOmAiN = %s" % domain.encode())
    kept, notes = RULE.apply(host, [good, (b"x", b"y"), bad])
    assert kept == [good, (b"x", b"y")]
    (note,) = notes
    assert "'session'" in note
    assert host in note


def test_of_very_many_cookies_the_first_are_told_of() -> None:
    bad = [(b"set-cookie", b"n%d=v; Domain=com" % number) for number in range(200)]
    kept, notes = RULE.apply(BELOW, bad)
    assert kept == []
    assert len(notes) == MAX_NOTES + 1
    assert f"{200 - MAX_NOTES} more" in notes[-1]


def test_one_bad_domain_among_several_is_enough() -> None:
    cookie = b"a=b; domain=%s; domain=apps.example.com" % BELOW.encode()
    assert RULE.apply(BELOW, [(b"set-cookie", cookie)])[0] == []
    cookie = b"a=b; domain=apps.example.com; domain=%s" % BELOW.encode()
    assert RULE.apply(BELOW, [(b"set-cookie", cookie)])[0] == []
