"""Admission in several processes: limits hold for all of them, and none of them starves."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from gateway.admission.shared import SharedGate
from gateway.errors import LoadShed
from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.processes.cells import Cells, Kind
from tests.support.requests import a_request

pytestmark = pytest.mark.anyio


def route(slots: int = 1, tenant: str = "acme") -> Route:
    return Route(
        key=ScriptKey("production", tenant),
        tenant=tenant,
        version_id="v",
        plan="free",
        limits=Limits(concurrency=slots, websockets=slots),
        status=TenantStatus.ACTIVE,
    )


def request(*, websocket: bool = False) -> Request:
    return a_request(websocket=websocket)


@pytest.fixture
def tables() -> Iterator[list[Cells]]:
    first = Cells.create(2)
    both = [first, Cells(os.dup(first.descriptor), processes=2, index=1)]
    yield both
    for cells in both:
        cells.close()


@pytest.fixture
def gates(tables: list[Cells]) -> list[SharedGate]:
    return [SharedGate(queue_seconds=20, cells=cells) for cells in tables]


def takes(gate: SharedGate, slots: int = 1) -> bool:
    return gate.try_enter(request(), route(slots))


async def test_what_one_has_the_other_cannot_give(gates: list[SharedGate]) -> None:
    one, other = gates
    assert takes(one, 2)
    assert takes(other, 2)
    assert not takes(one, 2)
    assert not takes(other, 2)
    other.leave("acme")
    assert takes(one, 2)
    assert not takes(other, 2)


async def test_who_waits_gets_what_another_process_gives_back(gates: list[SharedGate]) -> None:
    one, other = gates
    async with asyncio.timeout(60):
        assert takes(one)
        waiting = asyncio.create_task(other.enter(request(), route()))
        await asyncio.sleep(0)
        assert not takes(other)
        one.leave("acme")
        await waiting
        assert not takes(one)
        other.leave("acme")
        assert takes(one)


async def test_websockets_are_counted_together(gates: list[SharedGate]) -> None:
    async with gates[0].admit(request(websocket=True), route()):
        with pytest.raises(LoadShed, match="allows 1 WebSockets"):
            await gates[1].admit(request(websocket=True), route()).__aenter__()
    async with gates[1].admit(request(websocket=True), route()):
        pass


async def test_a_process_that_is_gone_holds_nothing(
    gates: list[SharedGate], tables: list[Cells]
) -> None:
    assert takes(gates[1])
    assert not takes(gates[0])
    tables[0].clear(1)
    assert takes(gates[0])


@pytest.mark.parametrize("slots", [1, 4])
async def test_a_busy_process_does_not_keep_all_to_itself(
    gates: list[SharedGate], slots: int
) -> None:
    """Each has more to do than the limit allows: both get on, and never more than the limit."""
    inside = most = 0
    done = [0, 0]

    async def work(index: int) -> None:
        nonlocal inside, most
        while min(done) < 5:
            async with gates[index].admit(request(), route(slots)):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1
                done[index] += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for index in (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1):
            tasks.create_task(work(index))
    assert most == slots


async def test_those_who_give_up_leave_nothing_behind(
    gates: list[SharedGate], tables: list[Cells]
) -> None:
    chance = random.Random(7)  # noqa: S311

    async def visit(gate: SharedGate) -> None:
        async with gate.admit(request(), route(3)):
            await asyncio.sleep(0.001)

    async with asyncio.timeout(60):
        tasks = [asyncio.create_task(visit(chance.choice(gates))) for _ in range(40)]
        while not all(task.done() for task in tasks):
            chance.choice(tasks).cancel()
            await asyncio.sleep(0)
    row = tables[0].row("acme")
    assert row is not None
    assert [tables[0].total(row, kind) for kind in Kind] == [0, 0, 0]
    assert all(takes(gates[0], 3) for _ in range(3))


async def test_a_tenant_without_a_row_has_its_part_in_each_process(
    gates: list[SharedGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cells, "row", lambda self, tenant: None)
    for gate in gates:
        assert takes(gate, 2)
        assert not takes(gate, 2)


async def test_rows_are_found_again_in_every_process(tables: list[Cells]) -> None:
    names = [f"tenant-{number}" for number in range(500)]
    rows = [tables[0].row(name) for name in names]
    assert len(set(rows)) == len(rows)
    assert [tables[1].row(name) for name in names] == rows
