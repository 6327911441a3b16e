"""What all tenants use together, shared so that none of them can use it up.

Threads that look up names, connections and turns of the event loop are few, and whom a tenant
talks to decides how long it holds them. So each has a share of its own, and who has used that up
waits for itself alone.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Shares:
    """So many of something for each owner at once; further ones wait in order."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def __repr__(self) -> str:
        return f"<Shares, {sum(self._held.values())} held by {len(self._held)}>"

    async def take(self, owner: str) -> None:
        """Wait for one; ``give`` returns it."""
        held = self._held.get(owner, 0)
        if held < self._each:
            self._held[owner] = held + 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(owner)
            raise

    def give(self, owner: str) -> None:
        """Return one: the next in line has it, if there is any."""
        waiting = self._waiting.get(owner)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(owner, None)
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]


class Turns:
    """One beginning of each owner in a turn of the event loop, so that others have theirs between.

    Where nobody else wants anything, a turn is over at once.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Of each owner that has had this turn."""

    async def wait(self, owner: str) -> None:
        """Return when it is the owner's turn."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(owner)
        if waiting is None:
            self._waiting[owner] = deque()
            loop.call_soon(self._next, loop, owner)
            return
        turn: asyncio.Future[None] = loop.create_future()
        waiting.append(turn)
        await turn

    def _next(self, loop: asyncio.AbstractEventLoop, owner: str) -> None:
        waiting = self._waiting[owner]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                loop.call_soon(self._next, loop, owner)
                return
        del self._waiting[owner]
