"""What a tail is to show, in the words of ``wrangler tail`` and Cloudflare's API."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from gateway.model.invocation import Invocation

MAX_FILTERS: Final = 20
_SHOWN: Final = frozenset({"ok", "canceled", "exceededCpu", "exceededMemory", "exception"})
"""Outcomes that Cloudflare's clients have a word for; all others are ``unknown`` to them."""
_SELF: Final = "self"

_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Texts = Annotated[list[_Text], msgspec.Meta(max_length=100)]


class HeaderFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field that the request has, with a text in its value."""

    key: _Text
    query: _Text | None = None


class TailFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition; several in one are all meant."""

    sampling_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    outcome: _Texts | None = None
    method: _Texts | None = None
    header: HeaderFilter | None = None
    client_ip: _Texts | None = None
    query: _Text | None = None
    script_version: _Text | None = msgspec.field(default=None, name="scriptVersion")

    @property
    def about_requests(self) -> bool:
        """Whether it chooses requests by what they are."""
        return any(
            given is not None
            for given in (self.outcome, self.method, self.header, self.client_ip, self.query)
        )


class Filters:
    """All the conditions of a tail; an invocation has to meet each. ``own``: the listener's IP."""

    def __init__(self, filters: Sequence[TailFilter], own: str = "") -> None:
        self._filters = tuple(filters)
        self._own = own
        self.news = not any(item.about_requests for item in filters)
        """Whether deployments are shown, too."""

    def matches(self, invocation: Invocation) -> bool:
        """Whether the tail shows it."""
        return all(self._meets(invocation, item) for item in self._filters)

    def _meets(self, invocation: Invocation, wanted: TailFilter) -> bool:
        request, route = invocation.request, invocation.route
        version = wanted.script_version
        if version is not None and (route is None or route.version_id != version.lower()):
            return False
        if wanted.outcome is not None and not _has_outcome(invocation, wanted.outcome):
            return False
        if wanted.method is not None and request.method not in map(str.upper, wanted.method):
            return False
        if wanted.client_ip is not None and not self._is_from(invocation, wanted.client_ip):
            return False
        if wanted.header is not None and not _has_header(invocation, wanted.header):
            return False
        if wanted.query is not None and not _says(invocation, wanted.query):
            return False
        rate = wanted.sampling_rate
        return rate is None or random.random() < rate  # noqa: S311 — which are shown is no secret

    def _is_from(self, invocation: Invocation, addresses: list[str]) -> bool:
        client = invocation.request.client
        return client is not None and any(
            client[0] == (self._own if address == _SELF else address) for address in addresses
        )


def _has_outcome(invocation: Invocation, outcomes: list[str]) -> bool:
    outcome = invocation.outcome.value
    return outcome in outcomes or ("unknown" in outcomes and outcome not in _SHOWN)


def _has_header(invocation: Invocation, wanted: HeaderFilter) -> bool:
    name = wanted.key.strip().lower().encode("latin-1", "replace")
    text = (wanted.query or "").encode("latin-1", "replace")
    return any(known.lower() == name and text in value
               for known, value in invocation.request.headers)  # fmt: skip


def _says(invocation: Invocation, text: str) -> bool:
    """Whether a log or an exception has the text in it."""
    return any(text in _shown(part) for log in invocation.logs for part in log.message) or any(
        text in error.message for error in invocation.exceptions
    )


def _shown(part: Any) -> str:
    if isinstance(part, str):
        return part
    try:
        return msgspec.json.encode(part).decode()
    except (TypeError, ValueError, RecursionError, OverflowError):
        return ""  # what JSON cannot say cannot be searched for
