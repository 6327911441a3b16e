"""Requests whose bodies have not come: how many go in, and what the others wait for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admission.bodies import Bodies
from gateway.admission.gate import Gate
from gateway.errors import BodyTooLarge, ClientDisconnected, LoadShed, WallTimeExceeded
from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from tests.support.requests import a_request

pytestmark = pytest.mark.anyio
LIMITS = Limits(concurrency=4, instances=8, body_mb=1)


class Dripping:
    """A body that comes when it is told to."""

    def __init__(self) -> None:
        self.arrived = False
        self.most = 0
        self._end = asyncio.get_running_loop().create_future()

    async def arrive(self, most: int) -> None:
        self.most = most
        await self._end

    def come(self) -> None:
        self.arrived = True
        self._end.set_result(None)

    def fail(self, error: Exception) -> None:
        self._end.set_exception(error)


def request(arrival: Dripping | None = None, content_length: int | None = None) -> Request:
    return a_request(method="POST", content_length=content_length, arrival=arrival)


def route(limits: Limits = LIMITS) -> Route:
    return Route(
        key=ScriptKey("production", "acme"),
        tenant="acme",
        version_id="v",
        plan="free",
        limits=limits,
        status=TenantStatus.ACTIVE,
    )


async def test_half_of_the_places_are_for_bodies_on_their_way() -> None:
    bodies = Bodies()
    for _ in range(2):
        assert await bodies.enter(request(Dripping()), "acme", LIMITS)
    third = Dripping()
    waiting = asyncio.create_task(bodies.enter(request(third), "acme", LIMITS))
    await asyncio.sleep(0)
    assert third.most == 1 << 20
    # Others of the tenant's, and other tenants, do not wait for it.
    assert not await bodies.enter(request(), "acme", LIMITS)
    assert await bodies.enter(request(Dripping()), "other", LIMITS)
    whole = Dripping()
    whole.come()
    assert not await bodies.enter(request(whole), "acme", LIMITS)
    assert not waiting.done()
    third.come()
    assert not await waiting
    bodies.leave("acme")
    assert await bodies.enter(request(Dripping()), "acme", LIMITS)


@pytest.mark.parametrize(
    ("processes", "instances", "inside"),
    [(1, 1, 0), (1, 2, 1), (1, 3, 1), (1, 4, 2), (1, 100, 2), (2, 4, 1), (4, 4, 0)],
)
async def test_code_that_has_few_instances_has_half_of_them_free(
    processes: int, instances: int, inside: int
) -> None:
    bodies = Bodies(processes)
    limits = Limits(concurrency=4, instances=instances, wall_ms=1)
    for _ in range(inside):
        assert await bodies.enter(request(Dripping()), "acme", limits)
    with pytest.raises(WallTimeExceeded):
        await bodies.enter(request(Dripping()), "acme", limits)


async def test_what_becomes_of_a_body_that_does_not_come() -> None:
    bodies, limits = Bodies(), Limits(instances=1)
    for error in (ClientDisconnected(), BodyTooLarge("too large")):
        body = Dripping()
        body.fail(error)
        with pytest.raises(type(error)):
            await bodies.enter(request(body), "acme", limits)


async def test_who_waits_for_a_body_holds_no_place_and_who_went_in_leaves() -> None:
    limits = Limits(concurrency=2, instances=2, body_mb=1)
    gate = Gate(queue_seconds=0.01)
    async with gate.admit(request(Dripping()), route(limits)):
        second = Dripping()
        permit = gate.admit(request(second), route(limits))
        waiting = asyncio.create_task(permit.__aenter__())
        await asyncio.sleep(0)
        async with gate.admit(request(), route(limits)):
            # Its body has come, and it waits for a place like any other: there is none.
            second.come()
            with pytest.raises(LoadShed):
                await waiting
        with pytest.raises(BodyTooLarge):
            await gate.admit(request(Dripping(), 1 << 30), route(limits)).__aenter__()
    # Nobody is inside any more.
    async with gate.admit(request(Dripping()), route(limits)):
        assert gate.bodies.inside("acme") == 1
    assert gate.bodies.inside("acme") == 0


async def test_who_finds_no_place_takes_none_of_those_for_bodies() -> None:
    limits = Limits(concurrency=2, instances=2)
    gate = Gate(queue_seconds=0.01)
    async with gate.admit(request(), route(limits)), gate.admit(request(), route(limits)):
        with pytest.raises(LoadShed):
            await gate.admit(request(Dripping()), route(limits)).__aenter__()
        assert gate.bodies.inside("acme") == 0
