"""Turns: tenants do not wait for each other, and deaths beyond the allowance cost time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pool.turns import ALLOWED, DEATH_NS, FORGIVEN_A_SECOND, Turns

pytestmark = pytest.mark.anyio


async def hold(turns: Turns, tenant: str, entered: list[str], release: asyncio.Event) -> None:
    async with turns.turn(tenant):
        entered.append(tenant)
        await release.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_tenant_waits_for_itself_only() -> None:
    turns, entered, release = Turns(2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(hold(turns, name, entered, release)) for name in "aaaab"]
    await settle()
    assert sorted(entered) == ["a", "a", "b"]
    release.set()
    await asyncio.gather(*tasks)
    assert sorted(entered) == ["a", "a", "a", "a", "b"]
    turns.forget_settled()
    assert turns.delay("a") == 0


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    turns, entered, release = Turns(1), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(hold(turns, "a", entered, release)) for _ in range(3)]
    await settle()
    tasks[1].cancel()
    await settle()
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert entered == ["a", "a"]
    await asyncio.wait_for(hold(turns, "a", entered, release), 1)


async def test_a_turn_that_was_given_to_one_who_gave_up_goes_on() -> None:
    turns, entered, release = Turns(1), list[str](), asyncio.Event()
    async with turns.turn("a"):
        waiting = asyncio.create_task(hold(turns, "a", entered, release))
        await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    release.set()
    await asyncio.wait_for(hold(turns, "a", entered, release), 1)


async def test_deaths_beyond_the_allowance_delay_the_next_start() -> None:
    turns = Turns(2)
    # From here on, so that what is forgiven while this waits for a processor is waited for as well.
    begun = asyncio.get_running_loop().time()
    for _ in range(int(ALLOWED)):
        turns.charge("a")
    assert turns.delay("a") == 0
    for _ in range(5):
        turns.charge("a")
    assert 0 < turns.delay("a") <= 5 / FORGIVEN_A_SECOND
    assert turns.delay("b") == 0
    assert turns.refuses("a") == 0, "that is soon: the request waits"
    async with turns.turn("a"):
        assert asyncio.get_running_loop().time() - begun > 0.2


async def test_cpu_that_nobody_pays_for_counts_as_deaths() -> None:
    turns = Turns(2)
    turns.charge("a", 100 * DEATH_NS)
    assert turns.delay("a") == pytest.approx(51 / FORGIVEN_A_SECOND, abs=0.5)
    assert turns.refuses("a") in (5, 6)


async def test_nobody_is_kept_waiting_for_ever() -> None:
    turns = Turns(2)
    for _ in range(10_000):
        turns.charge("a")
    assert turns.refuses("a") <= 30
