"""What a node does by itself: it goes on after a failure, and keeps what has to outlive it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.config import AuditRules, Config
from gateway.config import Control as Allowances
from gateway.model.audit import PRUNED, AuditEntry, AuditQuery
from gateway.upkeep import DAY_MS, Chore, Upkeep, begin_upkeep
from tests.support.control import control_plane

pytestmark = pytest.mark.anyio


async def until(true: Callable[[], Awaitable[object]]) -> None:
    """Wait for what a task of its own does."""
    for _ in range(3000):
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def test_a_chore_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()
    times: list[int] = []

    async def work() -> None:
        times.append(len(times))
        if len(times) < 3:
            raise OSError("no")
        done.set()

    async def last() -> None:
        raise OSError("too late")

    with caplog.at_level(logging.ERROR):
        upkeep = Upkeep([Chore("trying", 0.0, work)], last)
        async with asyncio.timeout(30):
            await done.wait()
        await upkeep.close()
    assert [record.msg for record in caplog.records] == ["upkeep failed"] * 3


async def test_allowances_and_the_audit_log_are_looked_after(tmp_path: Path) -> None:
    limits = Allowances(requests=3)
    config = replace(Config(), audit=AuditRules(keep_days=1), control=limits)
    async with control_plane(tmp_path, config) as first:
        await first.store.add_audit(
            AuditEntry(
                at_ms=time.time_ns() // 1_000_000 - 2 * DAY_MS, actor="t", action="x", target="y"
            )
        )
        upkeep = begin_upkeep(config, first.services, first.store)
        await until(lambda: first.store.list_audit(AuditQuery(action=PRUNED)))
        assert await first.store.list_audit(AuditQuery(action="x")) == []
        token = await first.tenant("acme")
        async with first.client(token) as client:
            seen = [(await client.get("/v1/plans")).status_code for _ in range(4)]
        assert seen == [200, 200, 200, 429]
        await upkeep.close()
    async with control_plane(tmp_path, config) as second:
        upkeep = begin_upkeep(config, second.services, second.store)

        async def spent() -> object:
            return second.services.guard.spent().tenants

        await until(spent)
        async with second.client(token) as client:
            assert (await client.get("/v1/plans")).status_code == 429
        await upkeep.close()
