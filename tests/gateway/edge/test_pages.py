"""Error pages: the right form, everything escaped, nothing told that must not be."""

from __future__ import annotations

import json
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.edge import pages
from gateway.edge.advice import BY_CODE
from gateway.errors import Refusal, WorkerBackedOff

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def subclasses(kind: type[Refusal]) -> list[type[Refusal]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in subclasses(child))]


EVERY = subclasses(Refusal)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", pages.TEXT),
        ("*/*", pages.TEXT),
        (BROWSER, pages.HTML),
        ("application/json", pages.JSON),
        ("application/json, text/plain, */*", pages.JSON),
        ("application/vnd.api+json", pages.JSON),
        ("text/html;q=0.5, application/json", pages.JSON),
        ("text/html, application/json", pages.HTML),
        ("application/json;q=0.9, text/html;q=0.95", pages.HTML),
        ("text/html;q=0, */*", pages.TEXT),
        ("text/html;q=0.2, */*;q=0.8", pages.TEXT),
        ("text/html;q=banana", pages.TEXT),
        ("text/html;q=nan", pages.TEXT),
        ("text/html;level=1;Q=0.7, application/json;q=.6", pages.HTML),
        ("TEXT/HTML", pages.HTML),
        ("text/*", pages.TEXT),
        ("image/png", pages.TEXT),
        ("application/*", pages.JSON),
        (",,;;,", pages.TEXT),
        ("text/plain;q=0, */*", pages.JSON),
        ("text/plain;q=0.1, text/html;q=0.1, */*;q=0.5", pages.JSON),
        ("application/json;q=0, application/*, text/*;q=0.1", pages.TEXT),
        ("*/*, text/html;q=0.1", pages.TEXT),
        ("text/html;q=0.000, application/json;q=0.001", pages.JSON),
        ("text/html ; q=0.5 , application/json ; q=1.000", pages.JSON),
        ("*/*;q=0", pages.TEXT),
    ],
)
def test_the_form_that_the_client_prefers(accept: str, kind: bytes) -> None:
    assert pages.preferred(accept) == kind


@given(st.text(max_size=100) | st.text("texhml/aplicon*;q=01., ", max_size=60))
def test_any_accept_gives_one_of_three(accept: str) -> None:
    assert pages.preferred(accept) in {pages.HTML, pages.JSON, pages.TEXT}


def test_an_accept_without_end_is_not_remembered_whole() -> None:
    before = pages.preferred.cache_info().currsize
    for number in range(3):
        accept = f"text/html,{'x/y,' * 30_000}{number}"
        kind, _ = pages.render(errors.BadRequest("no"), ray="r", accept=accept)
        assert kind == pages.HTML
    assert pages.preferred.cache_info().currsize <= before + 1


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("accept", [BROWSER, "application/json", "*/*"])
def test_every_page_names_request_code_and_outcome(kind: type[Refusal], accept: str) -> None:
    refusal = WorkerBackedOff("x", 1) if kind is WorkerBackedOff else kind("x")
    _, body = pages.render(refusal, ray="ray-1", accept=accept)
    text = unescape(body.decode())
    for word in ("ray-1", kind.code, kind.outcome.value, kind.title):
        assert word in text


def test_every_code_but_the_general_ones_has_its_own_words() -> None:
    assert {kind.code for kind in EVERY} - set(BY_CODE) == {"internal", "bad_request", "platform"}


def test_the_json_shape() -> None:
    _, body = pages.render(errors.CpuExceeded("12 ms used"), ray="r", accept="application/json")
    assert json.loads(body) == {
        "error": {
            "code": "1102",
            "title": "Worker exceeded CPU time limit",
            "detail": "12 ms used",
            "outcome": "exceededCpu",
            "fault": "limit",
            "ray": "r",
        }
    }


@pytest.mark.parametrize(
    "kind",
    [
        errors.TenantFailed,
        errors.BadResponse,
        errors.ProtocolViolation,
        errors.PlatformFailed,
        errors.Suspended,
        errors.Refusal,
    ],
)
@pytest.mark.parametrize("accept", [BROWSER, "application/json", "*/*"])
def test_what_code_or_platform_said_is_not_for_visitors(kind: type[Refusal], accept: str) -> None:
    refusal = kind("KeyError: 'db-password' at /srv/node/secret.py")
    _, body = pages.render(refusal, ray="r", accept=accept)
    assert b"password" not in body
    assert b"/srv" not in body


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in {"src", "href"} or not value, "an external resource"


@given(detail=st.text(max_size=60), ray=st.text(max_size=40))
def test_nothing_in_the_page_can_become_markup(detail: str, ray: str) -> None:
    hostile = f"<script>{detail}</script>${{title}}\"'><img src=x onerror=y>"
    parser = _Tags()
    _, body = pages.render(errors.NotConfigured(hostile), ray=ray + hostile, accept=BROWSER)
    parser.feed(body.decode())
    assert not {"script", "img"} & set(parser.tags)
    assert "h1" in parser.tags


def test_control_characters_and_length_of_a_detail() -> None:
    refusal = errors.NotConfigured("\x1b[2Jevil\u202e" + "x" * 10_000)
    _, body = pages.render(refusal, ray="r", accept="*/*")
    text = body.decode()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 1000


def test_the_headers_of_every_page() -> None:
    headers = dict(pages.response_headers(errors.LoadShed("busy"), ray="r"))
    assert headers == {
        b"waypost-ray": b"r",
        b"waypost-outcome": b"loadShed",
        b"waypost-code": b"load_shed",
        b"cache-control": b"no-store",
        b"vary": b"accept",
        b"retry-after": b"1",
        b"content-security-policy": b"default-src 'none'; style-src 'unsafe-inline'",
        b"x-content-type-options": b"nosniff",
    }
    bad = dict(pages.response_headers(errors.BadRequest(""), ray="r"))
    assert b"retry-after" not in bad
    assert bad[b"connection"] == b"close"
