"""Pieces that are written from where they lie: in order with all else, at any pace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from gateway.edge.cork import CorkedTransport

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
PIECE = 100_000


def pieces(count: int) -> list[bytes]:
    return [b"".join(b"%02d%06d" % (n, at) for at in range(PIECE // 8)) for n in range(count)]


async def read_all(sock: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while more := await loop.sock_recv(sock, 1 << 16):
        data += more
    return data


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("room", [4096, 1 << 20], ids=["small socket", "large socket"])
def test_what_is_written_at_once_keeps_its_place(
    new_loop: Callable[[], asyncio.AbstractEventLoop], room: int
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        theirs.setblocking(False)
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
        corked = CorkedTransport(transport, loop, 20, lambda: None)
        first, second, third, fourth = pieces(4)
        lent = bytearray(first)
        corked.write(HEAD)
        corked.write_now([memoryview(lent)])
        lent[:] = second
        corked.write_now([b"(", memoryview(lent), b")"])
        corked.write(third)
        lent[:] = fourth
        corked.write_now([memoryview(lent)])
        lent[:] = bytes(PIECE)
        reading = asyncio.create_task(read_all(theirs))
        corked.close()
        assert await asyncio.wait_for(reading, 20) == (
            HEAD + first + b"(" + second + b")" + third + fourth
        )
        theirs.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_is_gone_ends_the_connection(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_unix_connection(Client, sock=ours)
        corked = CorkedTransport(transport, loop, 20, lambda: None)
        transport.pause_reading()
        theirs.close()
        corked.write_now([memoryview(pieces(1)[0])])
        await asyncio.wait_for(client.lost, 20)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())
