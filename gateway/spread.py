"""Scripts that may have fewer instances than a node has processes: who asks is led to one."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import Any, Final

from gateway.edge.asgi import TRIES
from gateway.edge.departures import Departures, as_came
from gateway.edge.moving import Brought
from gateway.edge.server import Server
from gateway.errors import Elsewhere, LoadShed, Refusal
from gateway.model.http import Reply, Request
from gateway.model.invocation import Invocation
from gateway.model.plan import Limits
from gateway.model.schedule import Scheduled
from gateway.model.script import ScriptKey
from gateway.pool.instance import Instance
from gateway.processes.cells import Cells
from gateway.processes.errands import Errands, run_errand
from gateway.processes.homes import Homes
from gateway.processes.mailbox import Mail, Mailboxes, Moved
from gateway.rooms import Rooms
from gateway.telemetry.metrics import Metrics
from gateway.triggers.reply import NoReply
from gateway.triggers.schedules import request_of

logger = logging.getLogger(__name__)

LAST_MAIL_SECONDS: Final = 0.25
"""How long a process that ends still reads its box: others may just be posting."""


class Spread:
    """What a process does with what belongs to another, and with what others bring."""

    def __init__(self, rooms: Rooms, cells: Cells, boxes: Mailboxes, metrics: Metrics) -> None:
        self._dispatcher = rooms.dispatcher
        self._edge = rooms.edge
        self._pool = rooms.pool
        self._cells = cells
        self._boxes = boxes
        self._homes = Homes(cells)
        self._errands = Errands(boxes)
        self._watching: asyncio.Task[None] | None = None
        rooms.dispatcher.homes = self._homes
        rooms.edge.departures = Departures(
            boxes, self._errands, takes=cells.takes, count=metrics.handed_on
        )

    # What others bring

    def open(self, server: Server) -> None:
        """Take it; connections go on at ``server``."""
        self._boxes.listen(partial(self._take, server))
        self._watching = asyncio.create_task(self._homes.watch(self._let_go))

    async def retire(self) -> None:
        """Have others bring nothing more; what they are just posting is still taken."""
        self._cells.take(willing=False)
        await asyncio.sleep(LAST_MAIL_SECONDS)

    def close(self) -> None:
        """Take nothing more."""
        self._boxes.stop()
        if self._watching is not None:
            self._watching.cancel()

    def _take(self, server: Server, mail: Mail, sock: socket.socket, data: bytes) -> None:
        if isinstance(mail, Moved):
            server.take_over(sock, Brought(mail, data))
        else:
            # The server ends when these have.
            server.keep(self._run_errand(sock))

    async def _run_errand(self, sock: socket.socket) -> None:
        try:
            await run_errand(sock, self._serve, self._call)
        except Exception:
            logger.exception("an errand failed")

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self._edge(as_came(scope), receive, send)

    async def _call(self, scheduled: Scheduled, ray: str) -> Invocation:
        request = request_of(scheduled, ray)
        try:
            return await self._dispatcher.invoke(request, NoReply())
        except Elsewhere:
            return await self._refuse(request, NoReply())

    # What belongs elsewhere

    async def invoke(
        self, request: Request, reply: Reply, refusal: Refusal | None = None
    ) -> Invocation:
        """Do what a schedule asks for, wherever its script is served; how it went."""
        for _ in range(TRIES):
            try:
                return await self._dispatcher.invoke(request, reply, refusal)
            except Elsewhere as elsewhere:
                scheduled, place = request.scheduled, elsewhere.place
                if scheduled is not None and self._cells.takes(place):
                    # Whatever becomes of it: nothing is called twice.
                    done = await self._errands.call(place, scheduled, request.ray)
                    return done or await self._refuse(request, reply)
        return await self._refuse(request, reply)

    async def _refuse(self, request: Request, reply: Reply) -> Invocation:
        refusal = LoadShed("The process that serves this worker takes no more requests.")
        return await self._dispatcher.invoke(request, reply, refusal)

    def adopt(self, instance: Instance, limits: Limits) -> None:
        """Take in an instance that was started to validate an upload, if it may be one here."""
        if self._homes.is_home(instance.version.key, limits.instances):
            self._pool.adopt(instance, limits)
        else:
            instance.stop("its script is served by another process")

    def _let_go(self) -> None:
        """Another process came or went: what is at home elsewhere now has no instances here."""
        self._pool.retire_where(self._is_elsewhere)

    def _is_elsewhere(self, key: ScriptKey, instances: int) -> bool:
        return not self._homes.is_home(key, instances)
