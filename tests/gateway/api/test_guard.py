"""Asking too often, guessing tokens, and holding up everybody's uploads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.accounts import Principal
from gateway.accounts.tokens import PrincipalKind
from gateway.api import uploads
from gateway.api.errors import TooManyFailures, TooManyRequests
from gateway.api.guard import WINDOW_SECONDS, Buckets, Guard, Spendings, Spent
from gateway.config import Config
from gateway.config import Control as ControlLimits
from tests.support.control import Control, control_plane, script_path, upload_parts

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_bucket_refills_steadily() -> None:
    clock = Clock()
    buckets = Buckets(30, clock)
    assert [buckets.take("a") for _ in range(31)] == [0] * 30 + [10]
    assert buckets.take("b") == 0
    clock.now += 10
    assert (buckets.take("a"), buckets.take("a")) == (0, 10)
    clock.now += WINDOW_SECONDS * 5
    assert [buckets.take("a") for _ in range(31)].count(0) == 30
    assert {Buckets(0, clock).take("a") for _ in range(99)} == {0}


async def test_bad_tokens_close_an_address_but_not_to_those_it_knows() -> None:
    clock = Clock()
    guard = Guard(ControlLimits(failures=3), clock)
    operator = Principal(PrincipalKind.OPERATOR, None, "t")
    guard.check_token(operator, "10.0.0.1", "good")
    for _ in range(3):
        guard.check_address("10.0.0.1", "bad")
        guard.failed("10.0.0.1")
    with pytest.raises(TooManyFailures):
        guard.check_address("10.0.0.1", "bad")
    with pytest.raises(TooManyFailures):
        guard.check_address("10.0.0.1", "other")
    guard.check_address("10.0.0.1", "good")
    guard.check_address("10.0.0.2", "bad")
    clock.now += WINDOW_SECONDS / 3 + 1
    guard.check_address("10.0.0.1", "bad")


async def test_zero_is_no_limit() -> None:
    guard = Guard(ControlLimits(requests=0, operator_requests=0, failures=0), Clock())
    tenant = Principal(PrincipalKind.TENANT, "acme", "t")
    for _ in range(5000):
        guard.failed("a")
        guard.check_address("a", "bad")
        guard.check_token(tenant, "a", "x")
    guard = Guard(ControlLimits(), Clock())
    for _ in range(1200):
        guard.check_token(tenant, "a", "x")
    with pytest.raises(TooManyRequests):
        guard.check_token(tenant, "a", "x")


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Control]:
    limits = ControlLimits(requests=3, operator_requests=50, failures=2)
    async with control_plane(tmp_path, Config(control=limits)) as plane:
        yield plane


async def test_a_tenants_token_is_told_when_to_come_back(strict: Control) -> None:
    first, second = await strict.tenant("acme"), await strict.tenant("beta")
    async with strict.client(first) as client:
        path = "/client/v4/user/tokens/verify"
        assert [(await client.get(path)).status_code for _ in range(4)] == [200] * 3 + [429]
        refused = await client.get(path)
        assert refused.json()["errors"][0]["code"] == 10429
        assert refused.json()["success"] is False
        assert int(refused.headers["retry-after"]) == 100
        ours = await client.get("/v1/plans")
        assert (ours.status_code, ours.json()["error"]["code"]) == (429, "rate_limited")
    async with strict.client(second) as client:
        assert (await client.get("/v1/plans")).status_code == 200
    async with strict.client() as client:
        assert (await client.get("/v1/plans")).status_code == 200


async def test_guessing_has_to_wait(strict: Control) -> None:
    async with strict.client() as client:
        assert (await client.get("/v1/plans")).status_code == 200
    unseen = await strict.tenant("acme")
    async with strict.client("wp_guess") as client:
        seen = [(await client.get("/v1/plans")).status_code for _ in range(3)]
    assert seen == [403, 403, 429]
    async with strict.client(unseen) as client:
        assert (await client.get("/v1/plans")).status_code == 429
    async with strict.client() as client:
        assert (await client.get("/v1/plans")).status_code == 200


async def test_one_tenants_slow_uploads_leave_room_for_others(control: Control) -> None:
    stalled = asyncio.Event()
    begun: asyncio.Queue[None] = asyncio.Queue()

    async def dripping() -> AsyncIterator[bytes]:
        begun.put_nowait(None)
        yield b"--x\r\n"
        await stalled.wait()

    acme, beta = await control.tenant("acme"), await control.tenant("beta")
    kind = {"content-type": "multipart/form-data; boundary=x"}
    async with control.client(acme) as slow, control.client(beta) as quick:
        path = script_path("acme", account="acme")
        held = [
            asyncio.ensure_future(slow.put(path, content=dripping(), headers=kind))
            for _ in range(uploads.UPLOADS_AT_ONCE * 2)
        ]
        for _ in range(uploads.UPLOADS_OF_TENANT):
            await begun.get()
        answer = await quick.put(script_path("beta", account="beta"), files=upload_parts())
        assert answer.status_code == 200
        assert begun.empty()
        stalled.set()
        await asyncio.gather(*held)


async def test_an_upload_that_drips_loses_its_place(
    control: Control, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "BODY_SECONDS", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.Event().wait()

    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = await operator.put(script_path("acme"), content=dripping(), headers=kind)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (408, 10026)


async def test_a_restart_is_no_new_allowance(control: Control) -> None:
    tenant = Principal(PrincipalKind.TENANT, "acme", "t")
    operator = Principal(PrincipalKind.OPERATOR, None, "o")
    limits = ControlLimits(requests=30, operator_requests=30)
    guard = Guard(limits, Clock())
    spendings = Spendings(control.store, guard)
    await spendings.keep()
    assert await control.store.get("control:spent") is None
    for _ in range(30):
        guard.check_token(tenant, "a", "x")
    for _ in range(2):
        guard.check_token(operator, "a", "y")
    await spendings.keep()
    again = Guard(limits, Clock())
    again.check_token(operator, "a", "y")
    await Spendings(control.store, again).keep()
    with pytest.raises(TooManyRequests):
        again.check_token(tenant, "a", "x")
    # what the new node had counted before it looked counts as well
    assert again.spent().operators["o"] == pytest.approx(3, abs=1)


async def test_what_was_spent_long_ago_is_given_back() -> None:
    limits = ControlLimits(requests=30)
    guard = Guard(limits, Clock())
    five_minutes_ago = time.time_ns() // 1_000_000 - int(WINDOW_SECONDS * 1000)
    guard.spend(Spent(five_minutes_ago, {"t": 30.0}, {}))
    assert guard.spent().tenants == {}
    half = five_minutes_ago + int(WINDOW_SECONDS * 500)
    guard.spend(Spent(half, {"t": 30.0, "u": 1e9}, {}))
    assert guard.spent().tenants["t"] == pytest.approx(15, abs=1)
    with pytest.raises(TooManyRequests):
        guard.check_token(Principal(PrincipalKind.TENANT, "acme", "u"), "a", "x")
    # a clock that was set back refills nothing, and breaks nothing
    guard = Guard(limits, Clock())
    guard.spend(Spent(five_minutes_ago * 2, {"t": 3.0}, {}))
    assert guard.spent().tenants["t"] == 3
