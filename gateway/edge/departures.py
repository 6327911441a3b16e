"""How what another process of the node is to serve gets there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from gateway.edge.cycle import UPGRADE
from gateway.edge.moving import MOVABLE, MovableConnection
from gateway.edge.proxy_header import Itself
from gateway.processes.errands import ITSELF, MOVES, POST_SECONDS, Errands
from gateway.processes.mailbox import Mailboxes

MAX_MOVES: Final = 4
"""How often a request is passed on: more often only while processes come and go."""


class Departures:
    """Passes on what another process is to serve."""

    def __init__(
        self,
        boxes: Mailboxes,
        errands: Errands,
        *,
        takes: Callable[[int], bool],
        count: Callable[[str], None],
    ) -> None:
        """``takes``: whether a process still takes anything. ``count`` is told how a request goes:
        with its ``connection``, or as an ``errand``."""
        self._boxes = boxes
        self._errands = errands
        self._takes = takes
        self._count = count

    async def send(self, place: int, scope: dict[str, Any], receive: Any, send: Any) -> bool | None:
        """Hand a request to a process, with its connection where it has one; whether it went.

        None when it did not, and nothing of it is gone: it may be served by somebody else.
        """
        reference = scope.get(MOVABLE)
        connection: MovableConnection | None = reference() if reference is not None else None
        moves = connection.moves if connection is not None else scope.get(MOVES, 0)
        if moves >= MAX_MOVES:
            return False
        if connection is not None:
            if connection.is_read:
                return False
            if await self._move(connection, place, scope):
                self._count("connection")
                return True
            if UPGRADE in scope:
                return None
        if not self._takes(place):
            return None
        self._count("errand")
        itself = isinstance(scope["client"], Itself)
        return await self._errands.ask(place, scope, receive, send, itself=itself)

    async def _move(self, connection: MovableConnection, place: int, scope: dict[str, Any]) -> bool:
        data = await connection.pack(scope)
        if data is not None and await self._post(connection, place, data):
            connection.leave()
            return True
        connection.unpack()
        return False

    async def _post(self, connection: MovableConnection, place: int, data: bytes) -> bool:
        """Post it, once there is room in the box."""
        moved = connection.moved(len(data))
        deadline = time.monotonic() + POST_SECONDS
        while self._takes(place) and not connection.is_gone:
            if self._boxes.post_connection(place, moved, connection.descriptor, data):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._boxes.room(place), left)
        return False


def as_came(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope of an errand, with its client as the connection had it."""
    if scope.get(ITSELF) and scope["client"] is not None:
        scope["client"] = Itself(*scope["client"])
    return scope
