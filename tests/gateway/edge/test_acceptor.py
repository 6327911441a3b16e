"""Connections are shared out among processes, and nobody waits for one that is busy."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
import uvicorn
import uvloop

from gateway.config import Http
from gateway.edge.acceptor import Acceptor
from gateway.edge.connection import HttpConnection
from gateway.edge.server import Server
from gateway.processes.cells import Cells

pytestmark = pytest.mark.anyio


class Counting(asyncio.Protocol):
    """A connection that is in a list while it is open, and says what it is told to."""

    def __init__(self, connections: list[Counting], says: bytes) -> None:
        self._connections = connections
        self._says = says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.append(self)
        transport.write(self._says)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.remove(self)


@pytest.fixture
def tables() -> Iterator[list[Cells]]:
    first = Cells.create(2)
    both = [first, Cells(os.dup(first.descriptor), processes=2, index=1)]
    yield both
    for cells in both:
        cells.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        sock.setblocking(False)
        yield sock


def acceptor(sock: socket.socket, cells: Cells, here: list[Counting]) -> Acceptor:
    make: Callable[[], asyncio.Protocol] = lambda: Counting(here, b"%d" % cells.index)  # noqa: E731
    return Acceptor(sock, make, cells, lambda: len(here))


async def visit(listening: socket.socket, count: int) -> str:
    """So many connections at once; who answered them."""
    loop = asyncio.get_running_loop()
    answers = ""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in clients:
            client.setblocking(False)
            await loop.sock_connect(client, listening.getsockname())
        async with asyncio.timeout(30):
            for client in clients:
                answers += (await loop.sock_recv(client, 1)).decode()
    return answers


async def gone(*connections: list[Counting]) -> None:
    async with asyncio.timeout(30):
        while any(connections):  # noqa: ASYNC110 — protocols tell nobody
            await asyncio.sleep(0.01)


async def test_connections_are_shared_out(tables: list[Cells], listening: socket.socket) -> None:
    here: list[list[Counting]] = [[], []]
    other = listening.dup()  # a loop waits for a descriptor once
    both = [
        acceptor(sock, cells, here[cells.index])
        for sock, cells in zip((listening, other), tables, strict=True)
    ]
    answers = await visit(listening, 40)
    assert answers.count("0") + answers.count("1") == 40
    assert 10 <= answers.count("0") <= 30
    await gone(*here)
    for one in both:
        one.close()
        await one.wait_closed()
    other.close()


async def test_who_takes_none_is_not_waited_for(
    tables: list[Cells], listening: socket.socket
) -> None:
    here: list[Counting] = []
    tables[1].connections(0)
    one = acceptor(listening, tables[0], here)
    assert await visit(listening, 200) == "0" * 200
    await gone(here)
    one.close()


async def test_one_that_is_closed_leaves_all_to_the_other(
    tables: list[Cells], listening: socket.socket
) -> None:
    here: list[list[Counting]] = [[], []]
    other = listening.dup()  # a loop waits for a descriptor once
    both = [
        acceptor(sock, cells, here[cells.index])
        for sock, cells in zip((listening, other), tables, strict=True)
    ]
    both[1].close()
    assert await visit(listening, 40) == "0" * 40
    assert tables[0].connections(40) == 0xFFFFFFFF
    await gone(*here)
    both[0].close()
    other.close()


def test_nobody_waits_for_as_many_turns_as_others_have_connections(
    listening: socket.socket,
) -> None:
    async def turns() -> int:
        async def nothing(scope: object, receive: object, send: object) -> None: ...

        kind = partial(HttpConnection, bounds=Http())
        config = uvicorn.Config(nothing, http=kind, lifespan="off", log_config=None)  # type: ignore[arg-type]
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening.dup()]))
        await server.up.wait()
        count = 0
        while len(server.server_state.connections) < len(clients):
            await asyncio.sleep(0)
            count += 1
        server.should_exit = True
        for client in clients:
            client.close()
        await task
        return count

    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(256)]
        for client in clients:
            client.connect(listening.getsockname())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(turns()) < len(clients) // 4
