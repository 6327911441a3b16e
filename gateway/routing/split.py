"""Which of several versions serves a request.

Without a key it is chance. ``Cloudflare-Workers-Version-Key`` makes it the same version each time:
the key's hash is a point between 0 and 100, and each version has a range, the newest the first one.
Whoever has the new version keeps it while its share grows. ``Cloudflare-Workers-Version-Overrides:
name="version-id"`` asks for one of them, also for one with a share of 0, which is how a version is
tried before anybody else gets it.
"""

from __future__ import annotations

import random
import re
from hashlib import sha256
from typing import Final

import msgspec

from gateway.model.http import HeaderList, Request
from gateway.model.route import Choice, Route

KEY: Final = b"cloudflare-workers-version-key"
OVERRIDES: Final = b"cloudflare-workers-version-overrides"
_MAX_OVERRIDES: Final = 4096
_OVERRIDE: Final = re.compile(rb'\s*([a-z0-9-]{1,63})\s*=\s*"([0-9A-Za-z-]{1,64})"\s*')


def chosen(route: Route, request: Request) -> Route:
    """The route with one of its versions."""
    if not route.split:
        return route
    choice = _overridden(route, request.headers) or _at(route, _point(route, request.headers))
    return msgspec.structs.replace(
        route, version_id=choice.version_id, limits=choice.limits, split=()
    )


def _at(route: Route, point: float) -> Choice:
    for choice in route.split:
        if point < choice.below:
            return choice
    return route.split[-1]


def _point(route: Route, headers: HeaderList) -> float:
    key = _value(headers, KEY)
    if key is None:
        return random.random() * 100  # noqa: S311 — which version serves is no secret
    digest = sha256(f"{route.key.namespace}\0{route.key.name}\0".encode() + key).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48) * 100


def _overridden(route: Route, headers: HeaderList) -> Choice | None:
    given = _value(headers, OVERRIDES)
    if given is None or len(given) > _MAX_OVERRIDES:
        return None
    wanted = {
        match[1]: match[2] for match in map(_OVERRIDE.fullmatch, given.split(b",")) if match
    }.get(route.key.name.encode())
    if wanted is None:
        return None
    return next((item for item in route.split if item.version_id.encode() == wanted), None)


def _value(headers: HeaderList, wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
