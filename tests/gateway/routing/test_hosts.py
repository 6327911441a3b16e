"""Host names: what is accepted, how it is written, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.routing.hosts import (
    MAX_RAW,
    is_script_label,
    label_below,
    normalise_host,
    split_host_port,
)


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("example.com", "example.com"),
        ("Hello.LOCALHOST:8787", "hello.localhost"),
        ("example.com.", "example.com"),
        ("example.com.:443", "example.com"),
        ("example.com:", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example:80", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("faß.de", "xn--fa-hia.de"),
        ("r3---sn-abc.example", "r3---sn-abc.example"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[2001:DB8:0:0::1]:8787", "2001:db8::1"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_normalises(raw: str, host: str) -> None:
    assert normalise_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.example..",
        "-a.example",
        "a-.example",
        "under_score.example",
        "a b.example",
        "a/b",
        "user@example.com",
        "example.com:http",
        "example.com:65536",
        "example.com:-1",
        "example.com:٨٠",
        "example.com:80:80",
        "[::1",
        "[::1]80",
        "[fe80::1%eth0]",
        "[1.2.3.4]",
        "::1",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "xn--a.example",
        "xn--.example",
        "a\x00.example",
        "a\n.example",
        "example.com\n",
        "\u212a\u2100.example",
        "a" * (MAX_RAW + 1),
    ],
)
def test_refuses(raw: str) -> None:
    with pytest.raises(ValueError, match="host:"):
        normalise_host(raw)


@given(st.text(max_size=80) | st.text("abcxn-.:[]%@ÄßЖ0189", max_size=40))
@example("xn--999999.a")
def test_any_text_is_normalised_for_good_or_refused(raw: str) -> None:
    try:
        host = normalise_host(raw)
    except ValueError:
        return
    assert len(host) <= 253
    assert host.isascii()
    assert host == host.lower()
    again = f"[{host}]" if ":" in host else host
    assert normalise_host(again) == host


@given(st.text(max_size=60))
def test_split_never_invents_characters(raw: str) -> None:
    try:
        host, port = split_host_port(raw)
    except ValueError:
        return
    assert raw.startswith(host)
    assert port is None or 0 <= port <= 65535


@pytest.mark.parametrize(
    ("host", "base", "label"),
    [
        ("hello.localhost", "localhost", "hello"),
        ("localhost", "localhost", None),
        (".localhost", "localhost", None),
        ("a.b.localhost", "localhost", None),
        ("evillocalhost", "localhost", None),
        ("hello.apps.example", "apps.example", "hello"),
        ("hello.example", "apps.example", None),
        ("hello.localhost", "", None),
    ],
)
def test_label_below(host: str, base: str, label: str | None) -> None:
    assert label_below(host, base) == label


@pytest.mark.parametrize("label", ["a", "acme", "acme-shop", "9lives", "a" * 63])
def test_script_labels(label: str) -> None:
    assert is_script_label(label, {"www"})


@pytest.mark.parametrize(
    "label",
    ["", "-a", "a-", "a--b", "xn--bcher-kva", "A", "a_b", "a.b", "www", "a" * 64, "a\n", "é"],
)
def test_other_labels_are_no_script(label: str) -> None:
    assert not is_script_label(label, {"www"})
