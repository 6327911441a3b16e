"""Which schedules are run in a minute, and that each is run once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import Refusal, StillRunning
from gateway.model.http import Reply, Request
from gateway.model.invocation import Invocation
from gateway.model.script import Cron, Module, ScriptKey, Version
from gateway.store.sqlite import SqliteStore
from gateway.triggers import schedules
from gateway.triggers.schedules import Scheduler

pytestmark = pytest.mark.anyio

ACME = ScriptKey("production", "acme")
OTHER = ScriptKey("staging", "other")
NINE = 29_920_860
"""A Saturday's nine o'clock, in minutes of Unix time."""


class Corridor:
    """Notes who is called; calls last until they are let go."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str, int]] = []
        self.refused: list[Refusal] = []
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def invoke(
        self, request: Request, reply: Reply, refusal: Refusal | None = None
    ) -> Invocation:
        assert request.scheduled is not None
        self.asked.set()
        if refusal is not None:
            self.refused.append(refusal)
        else:
            scheduled = request.scheduled
            self.called.append((scheduled.key.name, scheduled.cron, scheduled.time_ms))
            await self.go.wait()
        return Invocation(request, 0, 0)


class Place:
    """A store with two scheduled scripts."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.corridor = Corridor()
        self.now = NINE * 60.0
        self.scheduler = self.node()

    def node(self) -> Scheduler:
        return Scheduler(self.store, self.corridor, clock=lambda: self.now)

    async def script(self, key: ScriptKey, *expressions: str) -> None:
        version = Version(
            id=f"{key.name}-1",
            key=key,
            tenant=key.name,
            etag="e",
            created_ms=1,
            main_module="main.py",
            modules=(Module("main.py", "text/x-python", b"x"),),
        )
        await self.store.put_version(version)
        await self.store.put_crons(key, tuple(Cron(text, 1, 1) for text in expressions))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    store = SqliteStore(tmp_path / "waypost.db")
    await store.open()
    made = Place(store)
    await made.script(ACME, "0 9 * * *", "*/15 * * * *", "1 9 * * *")
    await made.script(OTHER, "0 9 * * sat")
    yield made
    made.corridor.go.set()
    await made.scheduler.close()
    await store.close()


async def test_what_is_due_is_called_once_with_its_time(place: Place) -> None:
    assert await place.scheduler.run_minute(NINE) == 3
    await place.scheduler.settled()
    at = NINE * 60_000
    assert sorted(place.corridor.called) == [
        ("acme", "*/15 * * * *", at),
        ("acme", "0 9 * * *", at),
        ("other", "0 9 * * sat", at),
    ]
    # neither again, nor by a node that follows or runs beside
    assert await place.scheduler.run_minute(NINE) == 0
    assert await place.node().run_minute(NINE) == 0
    assert await place.node().run_minute(NINE - 15) == 0
    assert await place.node().run_minute(NINE + 1) == 1


async def test_two_nodes_at_the_same_moment(place: Place) -> None:
    nodes = [place.node() for _ in range(4)]
    assert sorted(await asyncio.gather(*(node.run_minute(NINE) for node in nodes))) == [0, 0, 0, 3]
    await asyncio.gather(*(node.settled() for node in nodes))


async def test_a_clock_that_was_wrong_does_not_stop_it_for_ever(place: Place) -> None:
    a_year_later = NINE + 525_600
    assert await place.scheduler.run_minute(a_year_later) > 0
    assert await place.scheduler.run_minute(NINE) == 3


async def test_a_call_that_goes_on_is_not_made_again(place: Place) -> None:
    place.corridor.go.clear()
    assert await place.scheduler.run_minute(NINE) == 3
    await place.corridor.asked.wait()
    assert len(place.corridor.called) == 3
    place.corridor.asked.clear()
    assert await place.scheduler.run_minute(NINE + 15) == 1
    await place.corridor.asked.wait()
    assert isinstance(place.corridor.refused[0], StillRunning)
    assert len(place.corridor.called) == 3
    # nor by whoever asks for it
    await place.scheduler.call(ACME, "0 9 * * *", 1)
    assert len(place.corridor.refused) == 2
    place.corridor.go.set()
    await place.scheduler.settled()
    assert await place.scheduler.run_minute(NINE + 30) == 1
    await place.scheduler.settled()
    assert len(place.corridor.called) == 4


async def test_what_cannot_be_read_does_not_stop_the_others(place: Place) -> None:
    await place.script(ScriptKey("production", "odd"), "not an expression", "0 9 * * *")
    assert await place.scheduler.run_minute(NINE) == 4
    await place.scheduler.settled()


async def test_it_begins_with_the_next_minute_and_skips_what_it_slept_through(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "LOOK_SECONDS", 0.001)
    place.scheduler.start()
    await asyncio.sleep(0.01)
    assert place.corridor.called == []
    place.now = (NINE + 30) * 60.0
    await place.corridor.asked.wait()
    await place.scheduler.settled()
    assert place.corridor.called == [("acme", "*/15 * * * *", (NINE + 30) * 60_000)]


async def test_the_end_waits_for_what_runs_but_not_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "CLOSE_SECONDS", 0.001)
    place.corridor.go.clear()
    await place.scheduler.run_minute(NINE)
    await place.scheduler.close()
    await place.scheduler.settled()
