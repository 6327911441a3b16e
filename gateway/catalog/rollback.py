"""Automatic rollback: a new deployment that fails more often than what it replaced is undone.

Requests are counted per version, in windows. What a visitor can do is bounded: a deployment is
undone once, while it is younger than the window, when its failures exceed those of the one before
it by as much as the operator has set; and never a rollback, so that two bad versions cannot chase
each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from cachetools import LRUCache

from gateway.catalog.versions import Versions
from gateway.config import Rollback
from gateway.errors import WaypostError
from gateway.model.audit import INTENT, AuditEntry, Intent, Kind
from gateway.model.invocation import Invocation
from gateway.model.script import Deployment, ScriptKey
from gateway.observer import Observer
from gateway.store.base import CatalogStore, VersionStore
from sandbox import Outcome

logger = logging.getLogger(__name__)

ACTION: Final = "script.rollback"
FAILURES: Final = frozenset(
    {
        Outcome.EXCEPTION,
        Outcome.EXCEEDED_CPU,
        Outcome.EXCEEDED_MEMORY,
        Outcome.EXCEEDED_WALL_TIME,
    }
)
_VERSIONS: Final = 10_000


class RollbackStore(CatalogStore, VersionStore, Protocol):
    """What a rollback needs of the store."""


class Tally:
    """Requests of one version within one window, and the share that failed in the last one."""

    __slots__ = ("failed", "last", "since", "total")

    def __init__(self, since: float) -> None:
        self.since = since
        self.total = 0
        self.failed = 0
        self.last = 0.0

    @property
    def percent(self) -> float:
        """How many of a hundred failed; the last window's while this one is empty."""
        return self.failed * 100 / self.total if self.total else self.last

    def count(self, total: int, failed: int, now: float, seconds: float) -> None:
        """Count requests."""
        if now - self.since > seconds:
            self.last, self.since, self.total, self.failed = self.percent, now, 0, 0
        self.total += total
        self.failed += failed


class Rollbacks(Observer):
    """Counts failures and undoes deployments; idle until it is given what it acts with."""

    def __init__(self, settings: Rollback, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._tallies: LRUCache[str, Tally] = LRUCache(_VERSIONS)
        self._judged: LRUCache[str, bool] = LRUCache(_VERSIONS)
        """Deployments that were looked at: each is undone once at most."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[ScriptKey] = set()
        self._versions: Versions | None = None
        self._store: RollbackStore | None = None

    def connect(self, versions: Versions, store: RollbackStore) -> None:
        """Give it what it acts with."""
        self._versions, self._store = versions, store

    def invocation(self, invocation: Invocation) -> None:
        """Count it, and look at its version's deployment when too many have failed."""
        route = invocation.route
        if route is not None:
            self.count(route.key, route.version_id, 1, invocation.outcome in FAILURES)

    def count(self, key: ScriptKey, version_id: str, total: int, failed: int) -> None:
        """Count so many requests of a version, of which so many failed."""
        settings = self._settings
        if not settings.error_percent:
            return
        tally = self._tallies.get(version_id)
        if tally is None:
            tally = self._tallies[version_id] = Tally(self._clock())
        tally.count(total, failed, self._clock(), settings.seconds)
        if failed and tally.total >= settings.requests and key not in self._busy:
            if tally.percent >= settings.error_percent:
                self._busy.add(key)
                task = asyncio.create_task(self._look(key, version_id, tally))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until nothing is being undone."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop; what was begun is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, key: ScriptKey, version_id: str, tally: Tally) -> None:
        try:
            await self._undo(key, version_id, tally)
        except WaypostError as error:
            logger.warning(
                "automatic rollback failed", extra={"script": key.name, "why": str(error)}
            )
        except Exception:
            logger.exception("automatic rollback failed", extra={"script": key.name})
        finally:
            self._busy.discard(key)

    async def _undo(self, key: ScriptKey, version_id: str, tally: Tally) -> None:
        if self._versions is None or self._store is None:
            return
        bad, before = self._pair(await self._store.list_deployments(key), version_id)
        if bad is None or before is None or bad.id in self._judged:
            return
        usual = max(self._percent(item) for item in _shares(before))
        if tally.percent - usual < self._settings.error_percent:
            return
        self._judged[bad.id] = True
        why = f"{tally.failed} of {tally.total} requests failed"
        script = await self._store.get_script(key)
        if script is None:
            return
        entry = AuditEntry(
            at_ms=time.time_ns() // 1_000_000,
            actor="platform",
            action=ACTION,
            target="/".join(key),
            tenant=script.tenant,
            detail={"why": why},
        )
        # Written with the deployment; this task makes no other change.
        INTENT.set(Intent(Kind.SCRIPT, entry, "/".join(key)))
        await self._versions.deploy(
            key,
            _shares(before),
            f"automatic rollback: {why}",
            scope=None,
            triggered_by="rollback",
            only_if=bad.id,
        )
        logger.warning("rolled back", extra={"script": key.name, "from": version_id, "why": why})

    def _pair(
        self, deployments: list[Deployment], version_id: str
    ) -> tuple[Deployment | None, Deployment | None]:
        """The deployment to undo, and the one to go back to; None where there is none."""
        if len(deployments) < 2:
            return None, None
        bad, *older = deployments
        age = time.time() - bad.created_ms / 1000
        young = age <= self._settings.seconds
        if not young or bad.triggered_by == "rollback" or version_id not in _shares(bad):
            return None, None
        return bad, next((item for item in older if version_id not in _shares(item)), None)

    def _percent(self, version_id: str) -> float:
        tally = self._tallies.get(version_id)
        return tally.percent if tally is not None else 0.0


def _shares(deployment: Deployment) -> dict[str, float]:
    split = {share.version_id: share.percentage for share in deployment.split}
    return split or {deployment.version_id: 100}
