"""Looks by itself whether hostnames that wait have been shown to be their tenants'."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from gateway.catalog.hostnames import Hostnames
from gateway.errors import ControlError
from gateway.model.audit import INTENT, PLATFORM, AuditEntry, Intent, Kind
from gateway.model.claim import Claim

logger = logging.getLogger(__name__)

ACTION: Final = "route.verify"
AT_ONCE: Final = 4
"""Looks that go on together: most of the places are for tenants who ask themselves."""
MOST_SECONDS: Final = 6 * 3600.0
AGE_PART: Final = 8
"""A claim is looked at again after this part of its age: the older, the less often."""


class Rechecks:
    """Goes through what waits, again and again."""

    def __init__(
        self,
        hostnames: Hostnames,
        *,
        least_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``least_seconds`` lie between two looks at one hostname."""
        self._hostnames = hostnames
        self._least = least_seconds
        self._clock = clock
        self._looked: dict[tuple[str, str], float] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    async def look(self) -> int:
        """Look at the hostnames that are due; how many came into force."""
        looked: dict[tuple[str, str], float] = {}
        routed = 0
        async for page in self._hostnames.claims():
            due = [(name, claim) for name, claim in page if self._is_due(name, claim)]
            for name, claim in page:
                key = (claim.tenant, name)
                since = self._clock() if (name, claim) in due else self._looked[key]
                looked[key] = since
            routed += sum(await asyncio.gather(*(self._verify(*item) for item in due)))
        self._looked = looked
        return routed

    def _is_due(self, hostname: str, claim: Claim) -> bool:
        last = self._looked.get((claim.tenant, hostname))
        if last is None:
            return True
        age = last - claim.created_ms / 1000
        return self._clock() - last >= min(max(age / AGE_PART, self._least), MOST_SECONDS)

    async def _verify(self, hostname: str, claim: Claim) -> bool:
        """Whether it is routed now. Each has a task, and so an intent, of its own."""
        entry = AuditEntry(
            at_ms=time.time_ns() // 1_000_000,
            actor=PLATFORM,
            action=ACTION,
            target=hostname,
            tenant=claim.tenant,
        )
        async with self._places:
            INTENT.set(Intent(Kind.HOSTNAME, entry))
            try:
                found = await self._hostnames.verify(hostname, scope=claim.tenant)
            except ControlError:  # taken, or not waiting any more
                return False
            except Exception:
                logger.exception("a hostname could not be verified", extra={"hostname": hostname})
                return False
        return found.claim is None
