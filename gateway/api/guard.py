"""How often one may ask: per token, and per address for tokens that are nobody's.

Amounts are per five minutes, as Cloudflare's are, in buckets that refill steadily. Failures are
counted per address, so that tokens cannot be guessed at leisure; a token that was good from there
before goes on working, so that one client's mistakes do not lock out its neighbours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache, TTLCache

from gateway.accounts import Principal
from gateway.api.errors import TooManyFailures, TooManyRequests
from gateway.config import Control

WINDOW_SECONDS: Final = 300.0
_REMEMBERED: Final = 20_000

Clock = Callable[[], float]


class Buckets:
    """Amounts that refill steadily, one for each key; the least recently used are forgotten."""

    def __init__(self, amount: int, clock: Clock = time.monotonic) -> None:
        self._amount = float(amount)
        self._rate = amount / WINDOW_SECONDS
        self._clock = clock
        self._levels: LRUCache[str, tuple[float, float]] = LRUCache(_REMEMBERED)

    def take(self, key: str) -> int:
        """Take one; 0, or the seconds after which there is one again."""
        if not self._amount:
            return 0
        level, now = self._level(key)
        taken = level >= 1
        self._levels[key] = (level - 1 if taken else level, now)
        return 0 if taken else math.ceil((1 - level) / self._rate)

    def wait(self, key: str) -> int:
        """The same without taking."""
        level, _ = self._level(key)
        return 0 if level >= 1 or not self._amount else math.ceil((1 - level) / self._rate)

    def _level(self, key: str) -> tuple[float, float]:
        now = self._clock()
        level, since = self._levels.get(key, (self._amount, now))
        return min(self._amount, level + (now - since) * self._rate), now


class Guard:
    """Counts requests and failures of the control API."""

    def __init__(self, limits: Control, clock: Clock = time.monotonic) -> None:
        self._tenants = Buckets(limits.requests, clock)
        self._operators = Buckets(limits.operator_requests, clock)
        self._failures = Buckets(limits.failures, clock)
        self._known: TTLCache[tuple[str, str], bool] = TTLCache(
            _REMEMBERED, WINDOW_SECONDS * 12, timer=clock
        )

    def check_address(self, address: str, digest: str) -> None:
        """Raise TooManyFailures where too many bad tokens came from, unless this one is known."""
        wait = self._failures.wait(address)
        if wait and (address, digest) not in self._known:
            raise TooManyFailures(
                "too many requests with tokens that are not valid came from this address", wait
            )

    def failed(self, address: str) -> None:
        """A token was nobody's."""
        self._failures.take(address)

    def check_token(self, principal: Principal, address: str, digest: str) -> None:
        """Count a request. Raises TooManyRequests."""
        self._known[address, digest] = True
        buckets = self._operators if principal.is_operator else self._tenants
        wait = buckets.take(principal.token_id)
        if wait:
            raise TooManyRequests("this token has made too many requests", wait)
