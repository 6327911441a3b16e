"""A script's schedules: times at which it is called without being asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.catalog.errors import BadSchedule, TooManySchedules
from gateway.catalog.locks import KeyedLocks
from gateway.catalog.owners import Owners, owner_within
from gateway.catalog.serving import missing
from gateway.config import Config
from gateway.model import cron
from gateway.model.invocation import Invocation
from gateway.model.script import Cron, Script, ScriptKey
from gateway.store.base import CatalogStore, TriggerStore

Caller = Callable[[ScriptKey, str, int], Awaitable[Invocation]]
"""Calls a script as a schedule does: expression, time in ms since 1970."""


class ScheduleStore(CatalogStore, TriggerStore, Protocol):
    """What schedules need of the store."""


async def call_nobody(key: ScriptKey, expression: str, time_ms: int) -> Invocation:
    """Nothing runs scripts here. Raises BadSchedule."""
    raise BadSchedule("this process runs no scripts")


class Schedules:
    """Sets schedules. ``scope``: the only tenant whose scripts may be touched, None for all."""

    def __init__(
        self, config: Config, store: ScheduleStore, owners: Owners, locks: KeyedLocks
    ) -> None:
        self._config = config
        self._store = store
        self._owners = owners
        self._locks = locks
        self._counting = asyncio.Lock()
        self.caller: Caller = call_nobody

    async def get(self, key: ScriptKey, *, scope: str | None) -> Script:
        """The script with its schedules. Raises ScriptMissing."""
        script = await self._store.get_script(key)
        if script is None or scope not in (None, script.tenant):
            raise missing(key)
        return script

    async def put(self, key: ScriptKey, expressions: Sequence[str], *, scope: str | None) -> Script:
        """Replace a script's schedules; the script afterwards.

        Raises ScriptMissing, BadSchedule or TooManySchedules.
        """
        wanted = list(dict.fromkeys(" ".join(text.split()) for text in expressions))
        async with self._counting, self._locks.hold(key):
            script = await self.get(key, scope=scope)
            await self._check_count(script, len(wanted))
            now = time.time_ns() // 1_000_000
            for text in wanted:
                await asyncio.to_thread(check_expression, text, now)
            old = {item.cron: item.created_ms for item in script.crons}
            crons = tuple(Cron(text, old.get(text, now), now) for text in wanted)
            changed = await self._store.put_crons(key, crons)
        if changed is None:
            raise missing(key)
        return changed

    async def run(
        self, key: ScriptKey, expression: str | None, *, scope: str | None
    ) -> tuple[str, Invocation]:
        """Call a script at once, as a schedule would: with which expression, and how it went."""
        script = await self.get(key, scope=scope)
        if expression is None:
            if len(script.crons) != 1:
                raise BadSchedule(
                    f"script {key.name!r} has {len(script.crons)} schedules",
                    fix="name the expression to call it with",
                )
            expression = script.crons[0].cron
        now = time.time_ns() // 1_000_000
        expression = " ".join(expression.split())
        await asyncio.to_thread(check_expression, expression, now)
        return expression, await self.caller(key, expression, now)

    async def _check_count(self, script: Script, count: int) -> None:
        owner = await owner_within(self._owners, script.key.name, script.tenant)
        most = self._config.plan(owner.plan).limits.schedules
        others = await self._store.count_crons(script.tenant) - len(script.crons)
        # Fewer than before is never refused.
        if count > len(script.crons) and others + count > most:
            raise TooManySchedules(
                f"the plan allows {most} schedules; the tenant's other scripts have {others}",
                fix="remove some, or ask the operator for another plan",
            )


def check_expression(text: str, now_ms: int) -> None:
    """Raise BadSchedule, saying what is wrong, unless there are times at which it is due."""
    try:
        schedule = cron.parse(text)
    except ValueError as error:
        raise BadSchedule(
            f"invalid cron string {text[:80]!r}: {error}",
            fix='such as "*/5 * * * *"; days of the week are 1 (Sunday) to 7, or names',
        ) from None
    if schedule.next_after(now_ms // 60_000) is None:
        raise BadSchedule(f"invalid cron string {text[:80]!r}: it is never due")
