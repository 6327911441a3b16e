"""What a node, its leader, does by itself from time to time; nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from gateway.api.guard import Spendings
from gateway.api.services import Services
from gateway.catalog.rechecks import Rechecks
from gateway.config import Config
from gateway.model.audit import PLATFORM, PRUNED, AuditEntry
from gateway.store.base import AuditStore, Store

logger = logging.getLogger(__name__)

PRUNE_SECONDS: Final = 3600.0
SPENDINGS_SECONDS: Final = 10.0
DAY_MS: Final = 86_400_000


class Chore(NamedTuple):
    """Work that comes again and again."""

    name: str
    seconds: float
    """From its end to its next beginning."""
    work: Callable[[], Awaitable[object]]
    first: float = 0.0
    """Seconds until it begins for the first time."""


class Upkeep:
    """Runs chores, each in a task of its own; one that fails is tried again the next time."""

    def __init__(
        self, chores: Sequence[Chore], last: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """``last`` is done once more in the end."""
        self._last = last
        self._tasks = [asyncio.create_task(_repeat(chore)) for chore in chores]

    async def close(self) -> None:
        """Stop; what was begun is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._last is not None:
            await _try("last", self._last)


async def _repeat(chore: Chore) -> None:
    await asyncio.sleep(chore.first)
    while True:
        await _try(chore.name, chore.work)
        await asyncio.sleep(chore.seconds)


async def _try(name: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except Exception:
        logger.exception("upkeep failed", extra={"chore": name})


def begin_upkeep(config: Config, services: Services, store: Store) -> Upkeep:
    """Start what a node of this configuration has to do by itself."""
    spendings = Spendings(store, services.guard)
    chores = [Chore("spendings", SPENDINGS_SECONDS, spendings.keep)]
    if config.audit.keep_days:
        days = config.audit.keep_days
        chores.append(Chore("audit", PRUNE_SECONDS, lambda: prune_audit(store, days)))
    rules = config.hostnames
    if rules.recheck_seconds and rules.verification in ("txt", "http"):
        rechecks = Rechecks(services.hostnames, least_seconds=rules.recheck_seconds)
        chores.append(
            Chore("hostnames", rules.recheck_seconds, rechecks.look, rules.recheck_seconds)
        )
    return Upkeep(chores, spendings.keep)


async def prune_audit(store: AuditStore, days: int) -> None:
    """Remove the audit log's entries that are older than so many days."""
    now_ms = time.time_ns() // 1_000_000
    before_ms = now_ms - days * DAY_MS
    entry = AuditEntry(
        at_ms=now_ms, actor=PLATFORM, action=PRUNED, target="audit", detail={"keep_days": days}
    )
    removed = True
    while removed:
        removed = bool(await store.prune_audit(before_ms, entry))
