"""The loop of an instance does what any loop does, besides reading the wire itself."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sandbox.runtime.wireloop import WireLoop

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="outside")


@dataclass
class Wired:
    """A loop, the other end of its wire, and what it read."""

    loop: WireLoop
    peer: socket.socket
    wire: socket.socket
    came: list[bytes] = field(default_factory=list)
    failing: BaseException | None = None

    def read(self) -> None:
        """What the loop calls."""
        self.came.append(self.wire.recv(100, socket.MSG_DONTWAIT))
        if self.failing is not None:
            raise self.failing

    async def until(self, count: int) -> None:
        """Wait, not idly, until so many pieces have come."""
        while len(self.came) < count:  # noqa: ASYNC110 - the loop is to have more to do
            await asyncio.sleep(0)


@pytest.fixture
def wired() -> Iterator[Wired]:
    loop = WireLoop()
    peer, wire = socket.socketpair()
    with peer, wire:
        each = Wired(loop, peer, wire)
        loop.watch(wire, each.read)
        yield each
        loop.close()


def test_it_reads_the_wire_between_what_else_it_does(wired: Wired) -> None:
    wired.peer.send(b"one")
    wired.loop.run_until_complete(wired.until(1))
    wired.loop.call_later(0.001, wired.peer.send, b"two")
    wired.loop.run_until_complete(asyncio.wait_for(wired.until(2), 30))
    assert wired.came == [b"one", b"two"]


def test_what_the_wire_brings_wakes_who_waits_for_it(wired: Wired) -> None:
    future = wired.loop.create_future()
    read = wired.read

    def settle() -> None:
        read()
        future.set_result(None)

    wired.loop._wire_selector._on_readable = settle
    wired.peer.send(b"one")
    wired.loop.run_until_complete(future)
    assert wired.came == [b"one"]


def test_while_it_waits_for_the_wire_threads_are_heard(wired: Wired) -> None:
    future = wired.loop.create_future()
    wired.peer.send(b"one")
    thread = threading.Thread(
        target=wired.loop.call_soon_threadsafe, args=(future.set_result, "told")
    )
    wired.loop.call_soon(thread.start)
    assert wired.loop.run_until_complete(future) == "told"
    thread.join()


def test_a_loop_that_is_stopped_by_what_came_stops(wired: Wired) -> None:
    def stop() -> None:
        wired.read()
        wired.loop.stop()

    wired.loop._wire_selector._on_readable = stop
    wired.peer.send(b"one")
    wired.loop.run_forever()
    assert wired.came == [b"one"]


def test_an_error_is_reported_and_the_wire_still_read(wired: Wired) -> None:
    told: list[Any] = []
    wired.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    wired.failing = ValueError("bad")
    wired.peer.send(b"one")
    wired.loop.run_until_complete(wired.until(1))
    assert told == [wired.failing]
    wired.failing = None
    wired.peer.send(b"two")
    wired.loop.run_until_complete(wired.until(2))


def test_an_exit_is_not_swallowed(wired: Wired) -> None:
    wired.failing = SystemExit(3)
    wired.peer.send(b"one")
    with pytest.raises(SystemExit):
        wired.loop.run_forever()


def test_a_task_begins_at_once_in_a_context_and_a_task_of_its_own(wired: Wired) -> None:
    seen: list[object] = []

    async def work() -> None:
        mark.set("inside")
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(mark.get())

    async def main() -> None:
        outer = asyncio.current_task()
        wired.loop.call_soon(begin)
        while len(seen) < 2:  # noqa: ASYNC110 - the loop is to have more to do
            await asyncio.sleep(0)
        assert asyncio.current_task() is outer

    def begin() -> None:
        task, step = wired.loop.prepare(work())
        tasks.append(task)
        step()
        assert seen == tasks

    tasks: list[asyncio.Task[None]] = []
    wired.loop.run_until_complete(main())
    assert seen == [tasks[0], "inside"]
    assert mark.get() == "outside"
    wired.loop.run_until_complete(tasks[0])


@pytest.mark.parametrize("debug", [False, True])
def test_begun_tasks_are_made_by_the_factory_that_was_set(wired: Wired, debug: bool) -> None:
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **_: Any) -> asyncio.Task[Any]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop)

    async def work() -> None:
        ran.append(1)

    ran: list[int] = []
    wired.loop.set_debug(debug)
    wired.loop.set_task_factory(factory)

    def begin() -> None:
        _, step = wired.loop.prepare(work())
        step()

    wired.loop.call_soon(begin)
    wired.loop.run_until_complete(asyncio.sleep(0))
    assert (len(made), ran) == (2, [1])


def test_a_closed_loop_takes_nothing(wired: Wired) -> None:
    wired.loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        wired.loop.call_soon(int)
