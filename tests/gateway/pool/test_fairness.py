"""What the instances of one tenant say is taken in by turns, however many of them there are."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable

import pytest

from gateway.pool.channel import AT_ONCE, FEW, Channel
from gateway.pool.exchange import Exchange
from gateway.pool.fairness import A_TURN, Fairness, Share
from sandbox import ProtocolError, protocol
from sandbox.protocol import FrameType

pytestmark = pytest.mark.anyio

INSTANCES = 20
FRAMES = 5 * A_TURN
A_READ = AT_ONCE + 43
"""Frames that one read has taken in at most: so many, and those of a step (sandbox.protocol)."""


class Counter:
    """Stands where subrequests are served; each credit is a frame that was taken in."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def on_fetch(self, stream: int, payload: bytes, exchange: Exchange, *, ended: bool) -> None:
        raise AssertionError("nothing is fetched")

    def on_body(self, stream: int, payload: bytes, *, ended: bool) -> bool:
        return False

    def on_credit(self, stream: int, amount: int) -> None:
        self.taken.append(amount)

    def on_cancel(self, stream: int) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is held."""


def fail(error: ProtocolError | None) -> None:
    pytest.fail(str(error))


def channel_of(
    share: Share, counter: Counter, on_broken: Callable[[ProtocolError | None], None] = fail
) -> Channel:
    made = Channel(
        on_ready=lambda _: None,
        on_broken=on_broken,
        on_exception=lambda _, record: pytest.fail(record.message),
        cpu_ns=lambda: 1 << 60,
        share=share,
    )
    made.subrequests = counter
    return made


async def turns_until(true: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("waited in vain")


def frames(count: int) -> bytes:
    return b"".join(protocol.encode_credit(1, number) for number in range(count))


async def test_a_tenants_instances_have_one_share_of_a_turn_together() -> None:
    share, counters = Share(), [Counter() for _ in range(INSTANCES)]
    for counter in counters:
        channel_of(share, counter).data_received(frames(FRAMES))
    quiet = Counter()
    turns, taken = 0, sum(len(counter.taken) for counter in counters)
    assert taken <= INSTANCES * A_READ
    while taken < INSTANCES * FRAMES:
        await asyncio.sleep(0)
        now = sum(len(counter.taken) for counter in counters)
        assert now - taken <= A_READ
        taken, turns = now, turns + 1
        if turns == 1:
            channel_of(Share(), quiet).data_received(frames(FEW))
            assert quiet.taken == [*range(FEW)]
    assert turns >= INSTANCES * (FRAMES - A_READ) // A_READ
    assert all(counter.taken == [*range(FRAMES)] for counter in counters)


async def test_reads_that_are_no_more_than_a_share_wait_when_many_of_them_come() -> None:
    share, counters = Share(), [Counter() for _ in range(INSTANCES)]
    channels = [channel_of(share, counter) for counter in counters]
    for channel in channels:
        channel.data_received(frames(A_TURN))
    assert share.waiting == INSTANCES - 1
    for channel in channels[1:]:
        channel.data_received(frames(1))
    assert [len(counter.taken) for counter in counters] == [A_TURN] * INSTANCES
    await turns_until(lambda: not share.waiting)
    assert [len(counter.taken) for counter in counters[1:]] == [A_TURN + 1] * (INSTANCES - 1)


async def test_who_says_little_takes_nothing_of_the_share() -> None:
    share, counter = Share(), Counter()
    channel = channel_of(share, counter)
    for _ in range(A_TURN):
        channel.data_received(frames(FEW))
    assert len(counter.taken) == FEW * A_TURN
    assert not share.spend(A_TURN)


async def test_a_share_is_the_tenants_by_the_weight_of_its_plan() -> None:
    fairness = Fairness()
    share = fairness.share("acme", 4)
    assert share.size == 4 * A_TURN
    assert fairness.share("acme", 2) is share
    assert share.size == 2 * A_TURN
    assert fairness.share("globex", 1) is not share
    del share
    gc.collect()
    assert fairness.share("acme", 1).size == A_TURN


async def test_one_that_fails_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    share, heard = Share(), asyncio.Event()

    def lose() -> None:
        raise ValueError("lost")

    share.wait(lose)
    share.wait(heard.set)
    with caplog.at_level(logging.CRITICAL):
        await heard.wait()


async def test_what_waits_of_an_instance_that_is_gone_is_dropped() -> None:
    share, counter = Share(), Counter()
    channel = channel_of(share, counter)
    channel.data_received(protocol.encode(FrameType.CANCEL, 1) * A_TURN + frames(2 * A_TURN))
    before = len(counter.taken)
    channel.close()
    await turns_until(lambda: not share.waiting)
    assert len(counter.taken) == before < 2 * A_TURN


async def test_what_an_instance_said_before_its_end_is_heard_out_of_turn() -> None:
    share, counter = Share(), Counter()
    ends: list[ProtocolError | None] = []
    channel = channel_of(share, counter, ends.append)
    share.spend(100 * A_TURN)
    channel.data_received(frames(FEW + 1))
    channel.data_received(frames(FRAMES))
    assert len(counter.taken) == FEW + 1
    channel.connection_lost(None)
    assert len(counter.taken) == FEW + 1 + FRAMES
    assert ends == [None]
