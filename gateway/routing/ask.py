"""Which names a TLS front may get certificates for: those that a worker answers to, no others.

A front that asks nobody lets any visitor order certificates for any name, until the authority
refuses it more. Names come from TLS handshakes of strangers, so that looking up those that are not
known is rationed; those that are known stay answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway.routing.hosts import normalise_host
from gateway.routing.resolver import Resolver

LOOKUPS_PER_SECOND: Final = 50
"""Names looked up in the store; authorities issue far fewer certificates."""
BURST: Final = 200
"""Look-ups that may come at once, as after a front's start."""


class CertificateNames:
    """Answers a TLS front's question before it orders a certificate."""

    def __init__(self, resolver: Resolver, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._clock = clock
        self._left = float(BURST)
        self._counted = clock()

    async def allows(self, domain: str) -> bool | None:
        """Whether a worker answers to this name; None when too many names were asked for."""
        try:
            host = normalise_host(domain)
        except ValueError:
            return False
        if ":" in domain or domain.startswith("["):
            return False
        if not self._resolver.remembers(host) and not self._take():
            return None
        return await self._resolver.answers_to(host)

    def _take(self) -> bool:
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._counted) * LOOKUPS_PER_SECOND)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
