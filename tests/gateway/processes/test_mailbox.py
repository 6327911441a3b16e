"""Boxes of processes: what is posted comes whole, waits while a box is full, and is never lost."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.processes.mailbox import MAX_INLINE, Errand, Mail, Mailboxes, Moved
from tests.support.node import open_descriptors

pytestmark = pytest.mark.anyio


class Reader:
    """What came to a box; the sockets are closed."""

    def __init__(self) -> None:
        self.got: list[tuple[Mail, bytes]] = []
        self._more = asyncio.Event()

    def take(self, mail: Mail, sock: socket.socket, data: bytes) -> None:
        sock.close()
        self.got.append((mail, data))
        self._more.set()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.got) < count:
                self._more.clear()
                await self._more.wait()


@pytest.fixture
async def boxes() -> AsyncIterator[tuple[Mailboxes, Mailboxes]]:
    before = open_descriptors()
    leader = Mailboxes.create(2)
    own, *ways = (socket.socket(fileno=os.dup(one)) for one in leader.descriptors(1))
    other = Mailboxes(1, [own], ways)
    yield leader, other
    leader.close()
    other.close()
    assert open_descriptors() == before


def moved(size: int) -> Moved:
    return Moved(("192.0.2.1", 7), False, True, 2, size, None)


@pytest.mark.parametrize("size", [0, 1, MAX_INLINE, MAX_INLINE + 1, 1 << 20])
async def test_a_connection_comes_with_all_that_was_read_of_it(
    boxes: tuple[Mailboxes, Mailboxes], size: int
) -> None:
    leader, other = boxes
    reader, data = Reader(), os.urandom(size)
    other.listen(reader.take)
    with socket.socket() as sock:
        assert leader.post_connection(1, moved(size), sock.fileno(), data)
    await reader.wait(1)
    [(mail, came)] = reader.got
    assert isinstance(mail, Moved)
    assert (mail.client, mail.secure, mail.moves) == (("192.0.2.1", 7), True, 2)
    assert came == data


async def test_who_posts_to_a_full_box_waits_until_it_is_read(
    boxes: tuple[Mailboxes, Mailboxes],
) -> None:
    leader, other = boxes
    reader, posted = Reader(), 0
    with socket.socket() as sock:
        while leader.post_connection(1, moved(0), sock.fileno(), b"x" * MAX_INLINE):
            posted += 1
            assert posted < 100_000
        waiting = [asyncio.create_task(leader.room(1)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        other.listen(reader.take)
        async with asyncio.timeout(60):
            await asyncio.gather(*waiting)
        assert leader.post(1, Errand(), [sock.fileno()])
    await reader.wait(posted + 1)
    assert [mail for mail, _ in reader.got[-1:]] == [Errand()]


async def test_what_a_dead_process_has_not_read_is_the_leaders(
    boxes: tuple[Mailboxes, Mailboxes],
) -> None:
    leader, other = boxes
    reader = Reader()
    with socket.socket() as sock:
        for _ in range(3):
            assert other.post_connection(1, moved(1), sock.fileno(), b"x")
    leader.listen(reader.take)
    leader.reclaim(1)
    assert [data for _, data in reader.got] == [b"x"] * 3


async def test_what_makes_no_sense_is_dropped_with_its_sockets(
    boxes: tuple[Mailboxes, Mailboxes], caplog: pytest.LogCaptureFixture
) -> None:
    leader, other = boxes
    reader = Reader()
    other.listen(reader.take)
    with socket.socket() as sock:
        # It says that it has memory, and has none.
        assert leader.post(1, moved(5), [sock.fileno()])
        assert leader.post(1, Errand(), [sock.fileno()])
    await reader.wait(1)
    assert [mail for mail, _ in reader.got] == [Errand()]
    assert "is not understood" in caplog.text
