"""Runs what is due, once for each minute however many nodes share a store.

A node takes a minute upon itself in the store before it runs anything of it: what it was killed in
the middle of is not run again, and minutes in which no node ran are left out. The same schedule of
a script is never called while its last call goes on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Final, Protocol

from gateway.errors import Refusal, StillRunning
from gateway.model import cron
from gateway.model.http import Reply, Request
from gateway.model.invocation import Invocation
from gateway.model.schedule import Scheduled
from gateway.model.script import ScriptKey
from gateway.store.base import TriggerStore
from gateway.triggers.reply import NoReply

logger = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Calls that begin together; the others of the minute follow."""
PACE_SECONDS: Final = 0.02
LOOK_SECONDS: Final = 30.0
"""How often the clock is looked at, in case that somebody has set it."""
CLOSE_SECONDS: Final = 30.0
"""What calls get to end in when the node stops."""


class Corridor(Protocol):
    """Where calls go (gateway.dispatch)."""

    async def invoke(
        self, request: Request, reply: Reply, refusal: Refusal | None = None
    ) -> Invocation:
        """Do what a schedule asks for, or refuse it; how it went."""


class Scheduler:
    """Looks once a minute which schedules are due, and calls their scripts."""

    def __init__(
        self, store: TriggerStore, corridor: Corridor, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._corridor = corridor
        self._clock = clock
        self._running: set[tuple[ScriptKey, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the next minute."""
        self._loop = asyncio.create_task(self._run())

    def retire(self) -> None:
        """Begin nothing more: another node does."""
        if self._loop is not None:
            self._loop.cancel()

    async def close(self) -> None:
        """Begin nothing more; wait for what runs, but not for ever."""
        self.retire()
        if self._loop is not None:
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def call(self, key: ScriptKey, expression: str, time_ms: int) -> Invocation:
        """Call a script as its schedule does; refused while the same schedule's call goes on."""
        scheduled = Scheduled(key, expression, time_ms)
        running = (key, expression)
        if running in self._running:
            refusal = StillRunning(f"The last call of the schedule {expression!r} still runs.")
            return await self._corridor.invoke(request_of(scheduled), NoReply(), refusal)
        self._running.add(running)
        try:
            return await self._corridor.invoke(request_of(scheduled), NoReply())
        finally:
            self._running.discard(running)

    async def run_minute(self, minute: int) -> int:
        """Begin every call that is due in a minute of Unix time; how many there are."""
        scheduled = await self._store.list_scheduled()
        due = await asyncio.to_thread(_due, scheduled, minute)
        if not due or not await self._store.claim_minute(minute):
            return 0
        for number, (key, expression) in enumerate(due, 1):
            task = asyncio.create_task(self._call(key, expression, minute * 60_000))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if number % AT_ONCE == 0:
                await asyncio.sleep(PACE_SECONDS)
        return len(due)

    async def settled(self) -> None:
        """Wait until every call that was begun is over."""
        await asyncio.gather(*self._tasks)

    async def _call(self, key: ScriptKey, expression: str, time_ms: int) -> None:
        try:
            await self.call(key, expression, time_ms)
        except Exception:
            logger.exception("a schedule could not be run", extra={"script": key.name})

    async def _run(self) -> None:
        minute = int(self._clock()) // 60
        while True:
            now = self._clock()
            if minute - 60 <= now // 60 <= minute:
                await asyncio.sleep(min((minute + 1) * 60 - now, LOOK_SECONDS))
                continue
            minute = int(now) // 60
            try:
                await self.run_minute(minute)
            except Exception:
                logger.exception("the schedules of a minute were not run", extra={"at": minute})


def _due(
    scheduled: list[tuple[ScriptKey, tuple[str, ...]]], minute: int
) -> list[tuple[ScriptKey, str]]:
    return [
        (key, expression)
        for key, expressions in scheduled
        for expression in expressions
        if _is_due(expression, minute)
    ]


def _is_due(expression: str, minute: int) -> bool:
    try:
        return cron.parse(expression).is_due(minute)
    except ValueError:
        logger.warning("a stored schedule cannot be read", extra={"cron": expression})
        return False


def request_of(scheduled: Scheduled, ray: str = "") -> Request:
    """What the corridor carries: nobody's request."""
    return Request(
        ray=ray or secrets.token_hex(8),
        method="",
        scheme="",
        host="",
        authority="",
        path=b"",
        query=b"",
        headers=[],
        client=None,
        accept="",
        scheduled=scheduled,
    )
