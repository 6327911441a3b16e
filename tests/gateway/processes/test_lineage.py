"""When a process that lost its leader ends, and how."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.processes.lineage import Lineage

pytestmark = pytest.mark.anyio


@pytest.fixture
def word() -> Iterator[int]:
    descriptor = os.memfd_create("serving", os.MFD_CLOEXEC)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def told(lineage: Lineage, word: int, *serving: int) -> signal.Signals:
    """What the process tells itself to do when the manager has these generations serve in turn."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[signal.Signals] = loop.create_future()
    handled = (signal.SIGTERM, signal.SIGUSR2)
    for number in handled:
        loop.add_signal_handler(number, heard.set_result, number)
    try:
        waiting = None
        for generation in serving:
            assert not heard.done()
            os.pwrite(word, generation.to_bytes(8, "little"), 0)
            # Nobody's parent has that number: the leader is gone.
            waiting = waiting or asyncio.create_task(lineage.outlive(leader_pid=-1))
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            return await heard
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def test_it_retires_when_another_node_serves(word: int) -> None:
    assert await told(Lineage(os.getpid(), 3, word), word, 3, 3, 5) is signal.SIGUSR2


async def test_it_ends_at_once_when_its_own_node_never_served(word: int) -> None:
    assert await told(Lineage(os.getpid(), 3, word), word, 2) is signal.SIGTERM


async def test_it_ends_where_the_manager_keeps_no_word(word: int) -> None:
    assert await told(Lineage(os.getpid(), 1, word), word, 0) is signal.SIGTERM
