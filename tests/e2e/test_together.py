"""What an instance sent and how it ended may be seen in one moment or in several: it is the same.

A node whose loop is held still while its instance goes on sees everything at once; one that is not
held mostly sees one thing after the other.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest

from gateway.config import Config
from gateway.model.plan import Limits
from gateway.pool.instance import Instance
from sandbox import protocol
from tests.support.node import LiveNode, live_node
from tests.support.observed import Observed
from tests.support.served import wait_until

SOURCE = """
import asyncio, os, time
from workers import Response, WorkerEntrypoint

async def afterwards(path):
    if "exit" in path:
        os._exit(3)
    if "raise" in path:
        raise RuntimeError("afterwards")
    if "memory" in path:
        kept = []
        while True:
            kept.append(bytes(16 << 20))
    if "wait" in path:
        await asyncio.sleep(60)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.partition("localhost")[2]
        if path == "/":
            return Response("hello")
        time.sleep(0.1)
        self.ctx.waitUntil(afterwards(path))
        return Response(b"x" * (200_000 if "long" in path else 5))
"""


class Held:
    """A node whose loop may be held still."""

    def __init__(self, live: LiveNode, node: Observed) -> None:
        self.live = live
        self.node = node

    @property
    def instance(self) -> Instance:
        [instance] = self.node.pool.instances()
        return instance

    def warm_instance(self) -> Instance:
        """The one that serves, with nothing to do."""
        assert self.live.request("held").text == "hello"
        instance = self.instance
        wait_until(lambda: not instance.in_flight)
        return instance

    def ask(self, pool: ThreadPoolExecutor, path: str) -> Future[httpx.Response]:
        """A request that is in an instance when this returns, or was."""
        served = sum(i.served for i in self.node.pool.instances())
        asked = pool.submit(self.live.request, "held", path)
        wait_until(lambda: sum(i.served for i in self.node.pool.instances()) > served)
        return asked

    def on_loop(self, work: Callable[[], Any]) -> None:
        async def main() -> None:
            work()

        asyncio.run_coroutine_threadsafe(main(), self.instance.channel.loop).result(60)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    def change(config: Config) -> Config:
        plans = {"free": Limits(memory_mb=96, cpu_ms=1000, wall_ms=1500, instances=1)}
        return msgspec.structs.replace(config, plans=plans)

    made: list[Observed] = []

    def make(config: Config) -> Observed:
        made.append(Observed(config))
        return made[0]

    with live_node(tmp_path_factory.mktemp("held"), change, make) as live:
        live.deploy("held", SOURCE, plan="free")
        yield Held(live, made[0])


def stand_still(pid: int, seconds: float = 10) -> None:
    """Do nothing until a process is gone, or for so long."""
    until = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.005)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("path", "outcome", "exception"),
    [
        ("/exit", "exception", "ProcessDied"),
        ("/long-exit", "exception", "ProcessDied"),
        ("/raise", "exception", "RuntimeError"),
        ("/memory", "exceededMemory", "MemoryError"),
    ],
)
def test_what_goes_wrong_after_a_whole_answer_is_told_and_the_answer_is_whole(
    held: Held, path: str, outcome: str, exception: str, *, together: bool
) -> None:
    pid = held.warm_instance().sandbox.pid
    with held.live.tail("held") as tail, ThreadPoolExecutor(1) as pool:
        asked = held.ask(pool, path)
        if together:
            held.on_loop(partial(stand_still, pid, 0.3))
        answer = asked.result()
        [event] = tail.wait()
    assert answer.status_code == 200
    assert len(answer.content) == (200_000 if "long" in path else 5)
    assert event["outcome"] == outcome
    assert event["event"]["response"]["status"] == 200
    assert [e["name"] for e in event["exceptions"]] == [exception]


def test_what_takes_too_long_after_a_whole_answer_is_told(held: Held) -> None:
    with held.live.tail("held") as tail:
        assert held.live.request("held", "/wait").status_code == 200
        [event] = tail.wait()
    assert event["outcome"] == "exceededWallTime"


def test_what_a_dead_instance_had_sent_is_read_though_writing_told_of_its_end(held: Held) -> None:
    instance = held.warm_instance()

    def write_when_dead() -> None:
        stand_still(instance.sandbox.pid)
        # At once, as something that was under way: no frame has been read since.
        transport = instance.channel._transport
        assert transport is not None
        transport.write(protocol.encode_credit(2, 1))

    with ThreadPoolExecutor(1) as pool:
        asked = held.ask(pool, "/exit")
        held.on_loop(write_when_dead)
        answer = asked.result()
    assert (answer.status_code, answer.text) == (200, "xxxxx")


def test_an_instance_that_died_before_it_was_taken_in_takes_no_room(held: Held) -> None:
    instance, pool = held.warm_instance(), held.node.pool

    def die_too_early() -> None:
        instance.stop("before it was taken in")
        pool.adopt(instance)
        assert instance not in pool.instances()

    held.on_loop(die_too_early)
    # The plan allows one: a dead one in its place would leave the script without any.
    assert held.live.request("held").text == "hello"
