"""How often one may ask: per token, and per address for tokens that are nobody's.

Amounts are per five minutes, as Cloudflare's are, in buckets that refill steadily. Failures are
counted per address, so that tokens cannot be guessed at leisure; a token that was good from there
before goes on working, so that one client's mistakes do not lock out its neighbours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from cachetools import LRUCache, TTLCache

from gateway.accounts import Principal
from gateway.api.errors import TooManyFailures, TooManyRequests
from gateway.config import Control
from gateway.store.base import KeyValueStore

WINDOW_SECONDS: Final = 300.0
_REMEMBERED: Final = 20_000
_KEPT: Final = 2000
"""Tokens whose spending outlives the node: those that have spent most."""
_KEY: Final = "control:spent"

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

    def spent(self) -> dict[str, float]:
        """What is used up at present, of those keys that have used most."""
        used = ((key, self._amount - self._level(key)[0]) for key in tuple(self._levels))
        most = sorted((item for item in used if item[1] >= 1), key=lambda item: item[1])
        return dict(most[-_KEPT:])

    def spend(self, spent: Mapping[str, float], seconds: float) -> None:
        """Use up what was used up so many seconds ago, and has not been refilled since."""
        for key, used in spent.items():
            level, now = self._level(key)
            left = min(max(used - seconds * self._rate, 0.0), self._amount)
            self._levels[key] = (max(level - left, 0.0), now)

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

    def spent(self) -> Spent:
        """What tokens have spent, as of now."""
        return Spent(time.time_ns() // 1_000_000, self._tenants.spent(), self._operators.spent())

    def spend(self, spent: Spent) -> None:
        """Count what was spent before this node started."""
        seconds = max(0.0, time.time() - spent.at_ms / 1000)
        self._tenants.spend(spent.tenants, seconds)
        self._operators.spend(spent.operators, seconds)


class Spent(msgspec.Struct, frozen=True):
    """Requests that still count, by the id of their token."""

    at_ms: int
    tenants: dict[str, float]
    operators: dict[str, float]


class Spendings:
    """Keeps what tokens have spent in the store, so that a restart is no new allowance.

    Failures are not kept: a token is known to be good where it was good before, which a new node
    does not remember, and would be refused for its neighbours' mistakes.
    """

    def __init__(self, store: KeyValueStore, guard: Guard) -> None:
        self._store = store
        self._guard = guard
        self._kept: tuple[set[str], float] | None = None

    async def keep(self) -> None:
        """Read what the last node kept, the first time; then write down what is new."""
        if self._kept is None:
            await self._read()
        spent = self._guard.spent()
        amounts = spent.tenants | spent.operators
        now = (set(amounts), round(sum(amounts.values())))
        if now != self._kept:
            await self._store.put(_KEY, msgspec.json.encode(spent))
        self._kept = now

    async def _read(self) -> None:
        value = await self._store.get(_KEY)
        self._kept = (set(), 0)
        if value is not None:
            self._guard.spend(msgspec.json.decode(value, type=Spent))
