"""Where the answer to nobody goes."""

from __future__ import annotations

import asyncio

from gateway.errors import BadResponse
from gateway.model.http import HeaderList
from gateway.model.websocket import UNPACED, Pace, Socket


class NoReply:
    """Takes an answer and forgets it."""

    def __init__(self) -> None:
        self.started = False
        self.unlisted = False
        self.crowded = False
        self.pace: Pace = UNPACED

    async def start(self, status: int, headers: HeaderList) -> list[str]:
        """Nothing is left out of what nobody sees."""
        return []

    async def write(self, chunk: bytes, *, more: bool) -> None:
        """Nobody is slow to read, either."""

    def write_now(self, pieces: list[memoryview], size: int) -> bool:
        """What is forgotten needs no waiting."""
        return True

    async def upgrade(self, headers: HeaderList, max_message: int) -> Socket:
        """Raises BadResponse: nobody speaks WebSocket."""
        raise BadResponse("The worker answered a schedule with a WebSocket.")

    async def page(self, status: int, headers: HeaderList, body: bytes) -> None:
        """What went wrong is told in the tail."""

    def abort(self) -> None:
        """There is no connection to cut."""

    async def closed(self) -> None:
        """Never: nobody goes away."""
        await asyncio.get_running_loop().create_future()
