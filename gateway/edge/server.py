"""A listener's server: uvicorn, ended by the node and not by signals."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import cast

import msgspec
import uvicorn

from gateway.config import Http
from gateway.edge.acceptor import Acceptor
from gateway.edge.connection import HttpConnection
from gateway.edge.moving import Brought
from gateway.processes.cells import Cells

ROOM = 16_384
"""Descriptors for which there is room from the start; each takes 8 bytes of the kernel's memory."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to the node and tells when it listens."""

    def __init__(self, config: uvicorn.Config, cells: Cells | None = None) -> None:
        """``cells``: where processes that share the socket tell how many connections they have."""
        super().__init__(config)
        self.up = asyncio.Event()
        self._cells = cells
        self._retiring = False
        self._coming: set[asyncio.Task[None]] = set()

    async def retire(self, seconds: float) -> None:
        """Take no new connection, and end each old one with its next answer, which says so.

        Returns when none is left, or after ``seconds``.
        """
        self._retiring = True
        for server in self.servers:
            server.close()
        for connection in self.server_state.connections:
            cast("HttpConnection", connection).retire()
        deadline = time.monotonic() + seconds
        # Polled: uvicorn keeps the set and tells nobody.
        while (self.server_state.connections or self._coming) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup([])
        self.servers = [
            cast("asyncio.Server", Acceptor(sock, self._connection, self._cells, self._open))
            for sock in sockets or []
        ]
        self.up.set()

    def _connection(self, **more: Brought) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            **more,
        )
        cast("HttpConnection", made).retiring = self._retiring or self.should_exit
        return made

    # Connections that another process had

    def take_over(self, sock: socket.socket, brought: Brought) -> None:
        """Go on with one, whatever else this server still takes."""
        task = asyncio.get_running_loop().create_task(self._connect(sock, brought))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    def keep(self, work: Coroutine[None, None, None]) -> None:
        """Do something before whose end this server does not end, unless it takes too long."""
        task = asyncio.get_running_loop().create_task(work)
        self.server_state.tasks.add(task)
        task.add_done_callback(self.server_state.tasks.discard)

    async def _connect(self, sock: socket.socket, brought: Brought) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(partial(self._connection, brought=brought), sock)
        except OSError:
            sock.close()

    def _open(self) -> int:
        return len(self.server_state.connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def within_descriptors(http: Http) -> Http:
    """The bounds with no more connections than a third of the descriptors the process may have:
    clients of both listeners must not be able to take those that instances and the store need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return http
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _make_room(min(hard, ROOM))
    return msgspec.structs.replace(http, connections=min(http.connections, hard // 3))


def _make_room(descriptors: int) -> None:
    """Have the kernel make its table of descriptors that large now.

    It doubles it when it is full, and then has a process with threads wait for all cores: some
    10 ms in which nobody is answered.
    """
    with open(os.devnull, "rb") as some:
        os.close(fcntl.fcntl(some, fcntl.F_DUPFD_CLOEXEC, descriptors - 1))
