"""Of what comes at once each tenant has its share, and who asks for little does not wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial

import pytest

from gateway.admission.turnstile import AT_ONCE, LONG, LOOKUP, SHARE, Turnstile
from gateway.edge.turns import COST, with_turns
from gateway.errors import LoadShed
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus

pytestmark = pytest.mark.anyio


def route(tenant: str, weight: int = 1) -> Route:
    return Route(
        key=ScriptKey("production", tenant),
        tenant=tenant,
        version_id="v",
        plan="free",
        limits=Limits(weight=weight),
        status=TenantStatus.ACTIVE,
    )


HEAVY, QUIET = route("heavy"), route("quiet")


@pytest.fixture
async def turnstile() -> Turnstile:
    return Turnstile(queue_seconds=60)


async def turn() -> None:
    """One turn of the event loop."""
    await asyncio.sleep(0)


def come(turnstile: Turnstile, requests: Iterable[Route], gone: Counter[str]) -> None:
    """All of them in one turn; counts those that go on."""
    for each in requests:
        if turnstile.passes(each):
            gone[each.tenant] += 1
        else:
            turnstile.wait(each, partial(gone.update, [each.tenant]))


async def test_a_few_pass_and_more_wait_but_no_other_tenant(turnstile: Turnstile) -> None:
    gone: Counter[str] = Counter()
    come(turnstile, [HEAVY] * 500, gone)
    assert gone["heavy"] == AT_ONCE + SHARE
    come(turnstile, [QUIET] * SHARE, gone)
    assert gone["quiet"] == SHARE
    assert turnstile.waiting == {"heavy": 500 - AT_ONCE - SHARE}


async def test_who_waits_goes_on_in_the_next_turns_and_the_quiet_do_not_wait(
    turnstile: Turnstile,
) -> None:
    gone: Counter[str] = Counter()
    come(turnstile, [HEAVY] * 500, gone)
    before = gone["heavy"]
    turns = 0
    while turnstile.waiting:
        await turn()
        turns += 1
        assert gone["heavy"] - before <= AT_ONCE
        before = gone["heavy"]
        come(turnstile, [QUIET, HEAVY], gone)
        assert gone["quiet"] == turns
    assert turns >= (500 - AT_ONCE - SHARE) // AT_ONCE
    assert gone["heavy"] == 500 + turns


async def test_those_who_wait_take_turns_by_the_weight_of_their_plans(
    turnstile: Turnstile,
) -> None:
    one, four = route("one", 1), route("four", 4)
    gone: Counter[str] = Counter()
    come(turnstile, [one] * 2000 + [four] * 2000, gone)
    gone.clear()
    for _ in range(20):
        await turn()
    assert gone.total() == 20 * AT_ONCE
    assert abs(gone["four"] - 4 * gone["one"]) <= 4 * SHARE


async def test_the_order_of_a_tenants_requests_is_kept(turnstile: Turnstile) -> None:
    order: list[int] = []
    for number in range(200):
        if turnstile.passes(HEAVY):
            order.append(number)
        else:
            turnstile.wait(HEAVY, partial(order.append, number))
    while turnstile.waiting:
        await turn()
        assert not turnstile.passes(HEAVY) or not turnstile.waiting
    assert order == list(range(200))


async def test_what_leads_to_no_script_has_one_tenants_share(turnstile: Turnstile) -> None:
    clients = [f"192.0.2.{number}" for number in range(200)]
    tasks = [asyncio.create_task(turnstile.enter_unknown(client)) for client in clients]
    await turn()
    assert turnstile.waiting[""] >= 200 - (AT_ONCE + SHARE) // LONG - 1
    assert turnstile.passes(QUIET)
    await asyncio.gather(*tasks)


async def test_a_client_that_asks_for_nothing_there_is_waits_for_itself(
    turnstile: Turnstile,
) -> None:
    gone: list[str] = []

    async def ask(client: str) -> None:
        await turnstile.enter_unknown(client, asks=True)
        gone.append(client)

    network = [f"2001:db8::{number:x}" for number in range(500)]
    tasks = [asyncio.create_task(ask(address)) for address in network]
    await turn()
    known = len(gone)
    assert known <= AT_ONCE + SHARE
    others = ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1"]
    tasks += [asyncio.create_task(ask(client)) for client in others]
    await turn()
    while not set(others) <= set(gone):
        assert turnstile.waiting[""]
        await turn()
    assert len(gone) <= known + 4 * AT_ONCE
    await asyncio.gather(*tasks)
    assert [client for client in gone if client in network] == network


async def test_what_the_store_is_asked_for_counts_as_more(turnstile: Turnstile) -> None:
    tasks = [asyncio.create_task(turnstile.enter_unknown("", asks=True)) for _ in range(200)]
    await turn()
    assert turnstile.waiting[""] >= 200 - (AT_ONCE + SHARE) // LOOKUP - 1
    await asyncio.gather(*tasks)


async def test_who_waited_for_too_long_is_shed_in_its_turn() -> None:
    turnstile = Turnstile(queue_seconds=0)
    tasks = [asyncio.create_task(turnstile.enter(HEAVY)) for _ in range(100)]
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    shed = [end for end in ends if isinstance(end, LoadShed)]
    assert len(shed) + ends.count(False) == 100
    assert 0 < ends.count(False) <= AT_ONCE + SHARE
    assert all(refusal.retry_after_seconds for refusal in shed)


async def test_what_takes_longer_counts_as_several_and_is_made_up_for(
    turnstile: Turnstile,
) -> None:
    """One tenant's requests turn out to take ten times as long as the other's."""
    gone: Counter[str] = Counter()
    long, short = route("long"), route("short")

    def go_long() -> None:
        gone["long"] += 1
        turnstile.spent(long, 10)

    come(turnstile, [short] * 2000, gone)
    for _ in range(500):
        turnstile.wait(long, go_long)
    gone.clear()
    for _ in range(50):
        await turn()
    assert abs(gone["short"] - 10 * gone["long"]) <= 4 * AT_ONCE


async def test_what_is_counted_in_a_later_turn_is_over_with_that_turn(
    turnstile: Turnstile,
) -> None:
    turnstile.spent(HEAVY, 10 * AT_ONCE)
    assert not turnstile.passes(HEAVY)
    await turn()
    assert turnstile.passes(HEAVY)


async def test_a_flood_of_the_control_api_leaves_turns_to_tenants(turnstile: Turnstile) -> None:
    served = 0

    async def api(scope: object, receive: object, send: object) -> None:
        nonlocal served
        served += 1

    app = with_turns(api, turnstile.enter_as)
    ask = {"path": "/v1/tls/ask", "client": ("192.0.2.1", 1)}
    tasks = [asyncio.create_task(app(ask, None, None)) for _ in range(200)]
    await turn()
    assert served <= (AT_ONCE + SHARE) // COST + 1
    assert turnstile.passes(QUIET)
    people = asyncio.create_task(app({**ask, "path": "/v1/tenants"}, None, None))
    await people
    assert sum(turnstile.waiting.values()) > 100
    await asyncio.gather(*tasks)
    assert served == 201


async def test_one_that_leaves_or_fails_holds_up_nobody(
    turnstile: Turnstile, caplog: pytest.LogCaptureFixture
) -> None:
    gone: Counter[str] = Counter()
    come(turnstile, [HEAVY] * 500, gone)
    leaving = asyncio.create_task(turnstile.enter(HEAVY))
    staying = asyncio.create_task(turnstile.enter(HEAVY))

    def fail() -> None:
        raise ValueError("lost")

    await turn()
    turnstile.wait(HEAVY, fail)
    leaving.cancel()
    assert await staying
    while turnstile.waiting:
        await turn()
    assert leaving.cancelled()
    assert gone["heavy"] == 500
    assert [record.message for record in caplog.records] == ["a request was lost"]
