"""Takes connections from a socket, many at a turn of the event loop: who comes next must not have
to wait for as many turns as somebody else has made connections.

Other processes may take from it, too, each about as many. Left to themselves, the one that wakes
first takes all that come. So whoever has more than another steps aside for a moment. Who is waited
for in vain is busy: the longer, the more are taken before it is waited for again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from gateway.processes.cells import AWAY, Cells

logger = logging.getLogger(__name__)

AHEAD: Final = 1
"""Connections that a process may have more than another before it steps aside."""
ASIDE_SECONDS: Final = 0.001
TIMES: Final = 3
"""How often in a row a process steps aside."""
BATCH: Final = 16
"""Connections taken in one go, each of which costs as much as a few requests; those go on between
two of them."""
MOST_AHEAD: Final = 64
"""Connections that are taken, at most, before one that was waited for in vain is again."""
PAUSE_SECONDS: Final = 0.1
"""After an error of the machine's, such as no descriptor being left."""


class Acceptor:
    """Accepts from ``sock`` until it is closed; the socket itself stays open."""

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.Protocol],
        cells: Cells | None,
        open_here: Callable[[], int],
    ) -> None:
        """``cells``: where processes that share the socket tell how many they have."""
        self._sock = sock
        self._make = make
        self._cells = cells
        self._open_here = open_here
        self._coming: set[asyncio.Task[object]] = set()
        self._aside = 0
        self._vain = 1
        self._fewest = -1
        """What the process had that was last waited for in vain."""
        self._ahead = 0
        """How many may be taken before it is waited for again."""
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._resume()

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._loop.remove_reader(self._sock)
        if self._cells is not None:
            self._cells.away()

    async def wait_closed(self) -> None:
        """Return when those that were taken are connections."""
        while self._coming:
            await asyncio.wait(self._coming)

    def _resume(self) -> None:
        if not self._closed:
            self._tell(self._count())
            self._loop.add_reader(self._sock, self._ready)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.call_later(seconds, self._resume)

    def _count(self) -> int:
        return self._open_here() + len(self._coming)

    def _tell(self, count: int) -> int:
        """Say how many there are here; the fewest of any other process."""
        return self._cells.connections(count) if self._cells is not None else AWAY

    def _ready(self) -> None:
        for _ in range(BATCH):
            count = self._count()
            fewest = self._tell(count)
            if count > fewest + AHEAD and not self._may_go_ahead(fewest):
                self._rest(ASIDE_SECONDS)
                return
            if not self._take():
                return

    def _may_go_ahead(self, fewest: int) -> bool:
        """Whether to take one more than another has, who was given the time to take it."""
        if not self._ahead:
            if self._aside < TIMES:
                self._aside += 1
                return False
            self._aside = 0
            self._vain = min(MOST_AHEAD, 2 * self._vain) if fewest == self._fewest else 1
            self._fewest = fewest
            self._ahead = self._vain
        self._ahead -= 1
        return True

    def _take(self) -> bool:
        """Take one; whether there may be another."""
        try:
            client, _ = self._sock.accept()
        except BlockingIOError:
            self._aside = self._ahead = 0
            return False
        except ConnectionAbortedError:
            return True
        except OSError as error:
            if error.errno == errno.EINVAL:
                # It listens no more: the manager was told to stop.
                self.close()
                return False
            logger.error("no connection can be taken", extra={"error": str(error)})
            self._rest(PAUSE_SECONDS)
            return False
        client.setblocking(False)
        task = self._loop.create_task(self._connect(client))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)
        return True

    async def _connect(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError:
            client.close()
