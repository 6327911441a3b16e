"""Admission: a tenant's share at once, its queue, and what is refused at the door."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admission.gate import QUEUE_FACTOR, Gate
from gateway.errors import BodyTooLarge, LoadShed, Suspended
from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from tests.support.requests import a_request

pytestmark = pytest.mark.anyio


def route(
    tenant: str = "acme", status: TenantStatus = TenantStatus.ACTIVE, slots: int = 1
) -> Route:
    return Route(
        key=ScriptKey("production", tenant),
        tenant=tenant,
        version_id="v",
        plan="free",
        limits=Limits(concurrency=slots, body_mb=1),
        status=status,
    )


def request(content_length: int | None = None) -> Request:
    return a_request(method="POST", content_length=content_length)


async def test_more_than_the_plan_allows_waits_for_a_slot() -> None:
    gate = Gate(queue_seconds=5)
    order: list[str] = []

    async def second() -> None:
        async with gate.admit(request(), route()):
            order.append("second")

    async with gate.admit(request(), route()):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_waiting_too_long_is_shed_with_retry_after() -> None:
    gate = Gate(queue_seconds=0.01)
    async with gate.admit(request(), route()):
        with pytest.raises(LoadShed) as shed:
            async with gate.admit(request(), route()):
                raise AssertionError("admitted")
    assert shed.value.retry_after_seconds
    async with gate.admit(request(), route()):
        pass


async def test_a_full_queue_sheds_at_once() -> None:
    gate = Gate(queue_seconds=60)

    async def wait() -> None:
        async with gate.admit(request(), route()):
            pass

    async with gate.admit(request(), route()):
        waiting = [asyncio.create_task(wait()) for _ in range(QUEUE_FACTOR)]
        await asyncio.sleep(0)
        with pytest.raises(LoadShed, match="waiting already"):
            await wait()
    await asyncio.gather(*waiting)


async def test_who_gave_up_takes_no_place_in_the_queue() -> None:
    gate = Gate(queue_seconds=0.01)
    async with gate.admit(request(), route()):
        for _ in range(QUEUE_FACTOR + 1):
            with pytest.raises(LoadShed, match="waited"):
                await gate.admit(request(), route()).__aenter__()


async def test_a_cancelled_waiter_gives_its_slot_to_the_next() -> None:
    gate = Gate(queue_seconds=5)

    async def hold() -> None:
        async with gate.admit(request(), route()):
            pass

    async with gate.admit(request(), route()):
        cancelled, kept = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)
        cancelled.cancel()
    await kept
    assert cancelled.cancelled() or cancelled.done()
    async with gate.admit(request(), route()):
        pass


async def test_tenants_do_not_share_slots() -> None:
    gate = Gate(queue_seconds=0.01)
    async with gate.admit(request(), route("one")), gate.admit(request(), route("two")):
        pass


async def test_suspended_tenants_and_long_bodies_are_refused() -> None:
    gate = Gate(queue_seconds=1)
    with pytest.raises(Suspended):
        async with gate.admit(request(), route(status=TenantStatus.SUSPENDED)):
            raise AssertionError("admitted")
    with pytest.raises(BodyTooLarge):
        async with gate.admit(request((1 << 20) + 1), route()):
            raise AssertionError("admitted")
