"""Which cookies a tenant may set: none that browsers would send to another tenant.

Browsers check ``Domain`` against their list of public suffixes, on which a platform's domain is not
before its operator has asked for it (publicsuffix.org). Until then only we know that its hosts
belong to strangers.
"""

from __future__ import annotations

from typing import Final

from gateway.config import Routing
from gateway.model.http import HeaderList

SET_COOKIE: Final = b"set-cookie"
MAX_NOTES: Final = 8
"""Cookies of one answer that are told of one by one."""
# Browsers know the whole list; here are the names below which strangers most often live.
_SECOND_LEVELS: Final = frozenset(
    "ac ad asn biz co com ed edu firm gen go gob gouv gov govt gv id ind info ltd me mil mod muni"
    " name ne net nhs nom or org plc police pro sch school web".split()
)
_SHARED: Final = frozenset(
    "appspot.com azurewebsites.net cloudfront.net deno.dev fly.dev github.io gitlab.io"
    " herokuapp.com netlify.app ngrok.io onrender.com pages.dev railway.app repl.co"
    " trycloudflare.com vercel.app web.app workers.dev".split()
)


class CookieRule:
    """Drops the cookies that would reach beyond the host that sets them."""

    def __init__(self, routing: Routing) -> None:
        self._platform = tuple(d for d in (routing.base_domain, routing.functions_domain) if d)

    def apply(self, host: str, headers: HeaderList) -> tuple[HeaderList, list[str]]:
        """The fields without such cookies, and what to tell the tenant of each."""
        kept: HeaderList = []
        notes: list[str] = []
        dropped = 0
        for field in headers:
            refused = self._refused(host, field[1]) if field[0] == SET_COOKIE else None
            if refused is None:
                kept.append(field)
                continue
            dropped += 1
            if dropped <= MAX_NOTES:
                name = field[1].partition(b"=")[0][:100].decode("utf-8", "replace")
                notes.append(
                    f"Set-Cookie dropped: {name!r} is for the domain {refused[:253]!r}, "
                    f"and {host} may not set cookies there. Leave Domain out."
                )
        if dropped > MAX_NOTES:
            notes.append(f"Set-Cookie dropped: {dropped - MAX_NOTES} more, for the same reason.")
        return kept, notes

    def _refused(self, host: str, cookie: bytes) -> str | None:
        """The Domain that is not allowed; None when there is none."""
        if b"domain" not in cookie.lower():
            return None
        for attribute in cookie.split(b";")[1:]:
            name, _, value = attribute.partition(b"=")
            if name.strip().lower() == b"domain":
                text = value.strip().decode("utf-8", "replace").lower()
                domain = text.removeprefix(".")
                if domain and not self.allows(host, domain):
                    return domain
        return None

    def allows(self, host: str, domain: str) -> bool:
        """Whether ``host`` may set cookies for ``domain``, both in lower case."""
        if domain in self._platform:
            return False
        if domain == host:
            return True
        if not host.endswith("." + domain):
            return False
        for platform in self._platform:
            if host.endswith("." + platform) or platform.endswith("." + domain):
                return False
        return not _is_public_suffix(domain)


def _is_public_suffix(domain: str) -> bool:
    first, _, rest = domain.partition(".")
    if not rest or domain in _SHARED:
        return True
    return len(rest) == 2 and first in _SECOND_LEVELS
