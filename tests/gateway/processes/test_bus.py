"""Between the leader and the others: what is asked is done and said, and bounds hold."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config import Config
from gateway.model.http import Request
from gateway.model.invocation import Invocation
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.processes import frames
from gateway.processes.follower import MAX_WAITING, Link
from gateway.telemetry.metrics import Metrics
from sandbox import Outcome
from sandbox.payloads import LogRecord

pytestmark = pytest.mark.anyio

KEY = ScriptKey("production", "acme-shop")


class Told:
    """The changes that came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *about: self.calls.append((name, about))


class Leader:
    """The other end of a follower's bus."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *said: frames.FromLeader) -> None:
        for frame in said:
            self.writer.write(frames.written(frame))

    async def hear(self) -> Any:
        async with asyncio.timeout(60):
            return await frames.read(self.reader, frames.from_follower)


@asynccontextmanager
async def bus() -> AsyncIterator[tuple[Leader, Link]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    leader = Leader(*await asyncio.open_unix_connection(sock=ours))
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    try:
        yield leader, Link(reader, writer)
    finally:
        for end in (leader.writer, writer):
            end.close()


@asynccontextmanager
async def follower() -> AsyncIterator[tuple[Leader, Link, Told]]:
    """One that follows."""
    told: Any = Told()
    async with bus() as (leader, link):
        following = asyncio.create_task(link.follow(told, Metrics()))
        link.serving()
        assert await leader.hear() == frames.Serving()
        try:
            yield leader, link, told
        finally:
            following.cancel()
            await asyncio.wait({following})


def invocation(name: str = "acme-shop", *, log: str = "", failed: bool = False) -> Invocation:
    request = Request("r", "GET", "http", "h", "h", b"/", b"", [(b"a", b"\xff")], ("::1", 1), "")

    async def receive() -> tuple[bytes, bool]:
        return b"", False

    request.receive = receive
    route = Route(ScriptKey("production", name), "acme", "v", "free", Limits(), TenantStatus.ACTIVE)
    outcome = Outcome.EXCEPTION if failed else Outcome.OK
    logs = [LogRecord("log", 1, [log, {"a": [1, None]}])]
    return Invocation(request, 1, 2, route=route, outcome=outcome, logs=logs)


async def test_the_settings_arrive_as_they_were() -> None:
    async with bus() as (leader, link):
        leader.say(frames.Setup(Config()), frames.Open())
        assert (await link.setup()).config == Config()
        await link.opened()


async def test_a_change_is_taken_up_and_then_said_to_be_in_force() -> None:
    async with follower() as (leader, _, told):
        leader.say(
            frames.Changed(1, "hostname_changed", [["a.example"]]),
            frames.Changed(2, "script_changed", [list(KEY)]),
            frames.Changed(3, "everything_changed", []),
        )
        assert [await leader.hear() for _ in range(3)] == [frames.Done(n) for n in (1, 2, 3)]
        assert told.calls == [
            ("hostname_changed", ("a.example",)),
            ("script_changed", (KEY,)),
            ("everything_changed", ()),
        ]


async def test_changes_before_it_serves_are_taken_up_too() -> None:
    told: Any = Told()
    async with bus() as (leader, link):
        leader.say(frames.Changed(1, "hostname_changed", [["a.example"]]), frames.Begin())
        await link.ready(told, Metrics())
        assert await leader.hear() == frames.Ready()
        assert await leader.hear() == frames.Done(1)
        assert told.calls


@pytest.mark.parametrize(
    ("topic", "heard"),
    [
        ((None, None, None), True),
        ((None, "acme-shop", "acme"), True),
        (("production", "acme-shop", None), True),
        (("staging", "acme-shop", None), False),
        ((None, "acme-other", "acme"), False),
        ((None, None, "acme"), True),
        ((None, None, "globex"), False),
    ],
)
async def test_what_is_listened_to_is_passed_on(topic: frames.Topic, heard: bool) -> None:
    async with follower() as (leader, link, _):
        leader.say(frames.Listened(1, [topic]))
        assert await leader.hear() == frames.Done(1)
        link.invocation(invocation(log="said"))
        leader.say(frames.Changed(2, "everything_changed", []))
        first = await leader.hear()
        assert isinstance(first, frames.Seen) == heard
        if heard:
            seen = frames.invocation_read(first.invocation)
            assert seen.logs == [LogRecord("log", 1, ["said", {"a": [1, None]}])]
            assert seen.request.headers == [(b"a", b"\xff")]
            assert seen.request.receive is None


async def test_nothing_is_passed_on_that_nobody_listens_to() -> None:
    async with follower() as (leader, link, _):
        link.invocation(invocation())
        leader.say(frames.Changed(1, "everything_changed", []))
        assert await leader.hear() == frames.Done(1)


async def test_a_leader_that_does_not_read_loses_invocations_and_is_told() -> None:
    async with follower() as (leader, link, _):
        leader.say(frames.Listened(1, [(None, None, None)]))
        assert await leader.hear() == frames.Done(1)
        sent = 2 * MAX_WAITING // (1 << 20)
        for _ in range(sent):
            link.invocation(invocation(log="x" * (1 << 20)))
        seen = 0
        leader.say(frames.Changed(2, "everything_changed", []))
        while not isinstance(await leader.hear(), frames.Done):
            seen += 1
        assert 0 < seen < sent
        link.invocation(invocation())
        assert await leader.hear() == frames.Lost(sent - seen)
        assert isinstance(await leader.hear(), frames.Seen)


async def test_failures_are_told_in_sums() -> None:
    async with follower() as (leader, link, _):
        link.watch_failures()
        for number in range(5):
            link.invocation(invocation(failed=number < 2))
        assert await leader.hear() == frames.Judged(KEY, "v", 5, 2)


async def test_numbers_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PIECE", 1000)
    async with follower() as (leader, _, __):
        leader.say(frames.Count())
        pieces = [await leader.hear()]
        while not pieces[-1].last:
            pieces.append(await leader.hear())
        assert len(pieces) > 2
        assert b"".join(piece.text for piece in pieces).endswith(b"\n")


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", frames.written(frames.Begin())],
    ids=["endless", "no message", "at the wrong time"],
)
async def test_what_makes_no_sense_ends_the_follower(garbage: bytes) -> None:
    told: Any = Told()
    async with bus() as (leader, link), asyncio.timeout(60):
        leader.writer.write(garbage)
        with pytest.raises(frames.BadFrame):
            await link.follow(told, Metrics())


async def test_the_end_of_the_leader_is_the_end() -> None:
    told: Any = Told()
    async with bus() as (leader, link), asyncio.timeout(60):
        leader.writer.close()
        await link.follow(told, Metrics())
