"""What a client sees when the tenant's code does not answer: HTML, JSON or text, as it prefers."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from pathlib import Path
from string import Template
from typing import Final

import msgspec

from gateway.edge.advice import STEPS, Advice, advice_for
from gateway.errors import Refusal
from gateway.model.http import HeaderList

HTML: Final = b"text/html; charset=utf-8"
JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"
_RANGES: Final = {
    HTML: (("text/html", "application/xhtml+xml"), "text/"),
    JSON: (("application/json",), "application/"),
    TEXT: (("text/plain",), "text/"),
}
"""What names a type, and the family it is of."""
CONTENT_SECURITY_POLICY: Final = b"default-src 'none'; style-src 'unsafe-inline'"
"""Lets the page's own style through and nothing else."""

_TEMPLATE: Final = Template(
    (Path(__file__).parent / "templates" / "error.html").read_text(encoding="utf-8")
)
_PARTIES: Final = ("You", "Platform", "This site")
_STEP_CLASSES: Final = {"!": "broken", "-": "idle"}
_MAX_DETAIL: Final = 500
_MAX_ACCEPT: Final = 1024
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_QUALITY: Final = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
# Faults whose detail was worded for the client. What a tenant's exception or the platform's says
# goes to the tail and the log: it may name what a visitor must not learn.
_DETAIL_SHOWN: Final = frozenset({"client", "limit"})


class _Body(msgspec.Struct):
    code: str
    title: str
    detail: str
    outcome: str
    fault: str
    ray: str


_encode = msgspec.json.Encoder().encode


def render(refusal: Refusal, *, ray: str, accept: str) -> tuple[bytes, bytes]:
    """Write the page of a refusal in the form that ``accept`` prefers: (content type, body)."""
    # Cut before it is remembered: a client may send a different one each time.
    kind = preferred(accept[:_MAX_ACCEPT])
    advice = advice_for(refusal.code, refusal.fault)
    detail = _public_detail(refusal)
    if kind == HTML:
        return HTML, _html(refusal, advice, detail, ray)
    detail = detail or advice.what
    if kind == JSON:
        outcome = refusal.outcome.value
        body = _Body(refusal.code, refusal.title, detail, outcome, refusal.fault, ray)
        return JSON, _encode({"error": body}) + b"\n"
    return TEXT, (
        f"{refusal.status} {refusal.title}\n\n{detail}\n{advice.developer}\n\n"
        f"request id: {ray}\ncode: {refusal.code}\noutcome: {refusal.outcome.value}\n"
    ).encode()


def response_headers(refusal: Refusal, *, ray: str) -> HeaderList:
    """The fields that every error page carries, besides its type and length."""
    headers = [
        (b"waypost-ray", ray.encode("latin-1", "replace")),
        (b"waypost-outcome", refusal.outcome.value.encode()),
        (b"waypost-code", refusal.code.encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"accept"),
        (b"content-security-policy", CONTENT_SECURITY_POLICY),
        (b"x-content-type-options", b"nosniff"),
    ]
    if refusal.status == 400:
        # Who sends one request that can be read in two ways may send another.
        headers.append((b"connection", b"close"))
    if refusal.status == 426:
        headers += [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    if refusal.status == 405:
        headers.append((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    return headers


def _public_detail(refusal: Refusal) -> str:
    if refusal.fault not in _DETAIL_SHOWN:
        return ""
    return _UNPRINTABLE.sub(" ", refusal.detail)[:_MAX_DETAIL].strip()


def _html(refusal: Refusal, advice: Advice, detail: str, ray: str) -> bytes:
    words = {
        "status": str(refusal.status),
        "title": refusal.title,
        "what": advice.what,
        "visitor": advice.visitor,
        "developer": advice.developer,
        "ray": ray,
        "code": refusal.code,
        "outcome": refusal.outcome.value,
    }
    escaped = {name: escape(word) for name, word in words.items()}
    note = f'<span class="detail">{escape(detail)}</span>' if detail else ""
    page = _TEMPLATE.substitute(escaped, detail=note, steps=_steps(refusal.fault))
    return page.encode("utf-8", "replace")


@lru_cache(maxsize=8)
def _steps(fault: str) -> str:
    rows = []
    for party, text in zip(_PARTIES, STEPS.get(fault, STEPS["platform"]), strict=True):
        css = _STEP_CLASSES.get(text[0], "working")
        state = escape(text.lstrip("!-"))
        rows.append(f'<li class="{css}"><b>{party}</b><span>{state}</span></li>')
    return "\n".join(rows)


@lru_cache(maxsize=512)
def preferred(accept: str) -> bytes:
    """The content type that an Accept header prefers (RFC 9110 §12.5.1), of the three there are.

    Of the ranges that cover a type the most exact counts. Highest quality first, then the more
    exact range, then the one named first. No preference, as in ``*/*``, gives text: that is curl;
    browsers name ``text/html``.
    """
    ranges = []
    for position, part in enumerate(accept.split(",")):
        media, _, parameters = part.partition(";")
        ranges.append((media.strip().lower(), _quality(parameters), -position))
    best, best_rank = TEXT, (0.0, 0, 0)
    for kind in (TEXT, JSON, HTML):
        covering = [
            (exactness, quality, position)
            for media, quality, position in ranges
            if (exactness := _exactness(media, kind)) >= 0
        ]
        if covering:
            exactness, quality, position = max(covering)
            rank = (quality, exactness, position)
            if quality > 0 and rank > best_rank:
                best, best_rank = kind, rank
    return best


def _exactness(media: str, kind: bytes) -> int:
    """How exactly a range means a type; -1 when it does not cover it."""
    exact, family = _RANGES[kind]
    if media in exact or (kind == JSON and media.startswith(family) and media.endswith("+json")):
        return 2
    if media == family + "*":
        return 1
    return 0 if media == "*/*" else -1


def _quality(parameters: str) -> float:
    """Read ``q``; what is malformed counts as not wanted."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            value = value.strip()
            return float(value) if _QUALITY.fullmatch(value) else 0.0
    return 1.0
