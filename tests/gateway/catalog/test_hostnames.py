"""Hostnames: one spelling each, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalog.errors import BadHostname
from gateway.catalog.hostnames import canonical_hostname, decode_record
from gateway.config import Config, Routing
from gateway.model.route import HostnameRecord
from tests.support.control import control_plane

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("shop.example", "shop.example"),
        ("SHOP.Example.", "shop.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("shop。example", "shop.example"),
        ("a--b.example", "a--b.example"),
        ("1.example", "1.example"),
    ],
)
async def test_canonical(given: str, canonical: str) -> None:
    assert canonical_hostname(given) == canonical


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.example..",
        "a b.example",
        "a_b.example",
        "a.example:80",
        "http://a.example",
        "a.example/x",
        "*.example",
        "[::1]",
        "::1",
        "10.0.0.1",
        "ab--c.example",
        "a.example。",
        "xn--.example",
        "a" * 64 + ".example",
        "a\0.example",
        "a\n.example",
        ".".join(["a" * 50] * 6),
    ],
)
async def test_refused(given: str) -> None:
    with pytest.raises(BadHostname):
        canonical_hostname(given)


async def test_a_record_that_is_no_record_leads_nowhere() -> None:
    assert decode_record(b"\xff") == HostnameRecord("")
    assert decode_record(b"[]") == HostnameRecord("")


async def test_what_the_platform_keeps(tmp_path: Path) -> None:
    routing = Routing(base_domain="apps.example", functions_domain="fn.example")
    async with control_plane(tmp_path, Config(routing=routing)) as control:
        hostnames = control.services.hostnames
        for host in ("admin.apps.example", "x.api.apps.example", "fn.example"):
            with pytest.raises(BadHostname):
                hostnames.checked(host)
        assert hostnames.checked("admin.example") == "admin.example"
        assert hostnames.checked("apps.example") == "apps.example"
