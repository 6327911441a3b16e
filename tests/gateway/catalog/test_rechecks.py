"""Hostnames that wait are looked at unasked, the older their claim the less often."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.catalog import ownership
from gateway.catalog.rechecks import MOST_SECONDS, Rechecks
from gateway.model.audit import AuditQuery
from tests.gateway.catalog.test_ownership import Published
from tests.support.control import Control, control_plane

pytestmark = pytest.mark.anyio

LEAST = 300.0


class Clock:
    """Set by hand, from when the claims were made."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    async with control_plane(tmp_path) as control:
        control.services.hostnames.proofs = Published()
        yield control


@pytest.fixture
def world(control: Control) -> Published:
    proofs = control.services.hostnames.proofs
    assert isinstance(proofs, Published)
    return proofs


def looking_daily(control: Control) -> Rechecks:
    """Each look of the clock is a day later, so that everything is due each time."""
    days = itertools.count(time.time(), 86_400.0)
    return Rechecks(control.services.hostnames, least_seconds=LEAST, clock=lambda: next(days))


async def claimed(control: Control, slug: str, hostname: str) -> str:
    """Let a tenant ask for a hostname; what it has to publish."""
    if await control.store.get_tenant(slug) is None:
        await control.tenant(slug)
    routed = await control.services.hostnames.put(hostname, slug, scope=slug)
    assert routed.claim is not None
    return routed.claim.proof


async def test_what_is_published_comes_into_force_unasked(
    control: Control, world: Published
) -> None:
    names = [f"shop-{number:03}.example" for number in range(ownership.MAX_CLAIMS)]
    proofs = [await claimed(control, "acme", name) for name in names]
    other = await claimed(control, "beta", "z.example")
    rechecks = looking_daily(control)
    assert await rechecks.look() == 0
    assert sorted(world.asked) == [*names, "z.example"]
    world.proofs |= {proofs[7], other}
    assert await rechecks.look() == 2
    assert await control.store.get(f"hostname:{names[7]}") is not None
    assert f"hostname {names[7]}" in control.events
    entries = await control.store.list_audit(AuditQuery(action="route.verify"))
    told = {(entry.actor, entry.tenant, entry.target, entry.status) for entry in entries}
    assert told == {
        ("platform", "acme", names[7], 200),
        ("platform", "beta", "z.example", 200),
    }
    assert all(entry.after for entry in entries)
    world.asked.clear()
    await rechecks.look()
    assert len(world.asked) == len(names) - 1


async def test_whoever_is_first_has_it_and_the_other_goes_on_waiting(
    control: Control, world: Published
) -> None:
    world.proofs |= {
        await claimed(control, "acme", "shop.example"),
        await claimed(control, "beta", "shop.example"),
    }
    rechecks = looking_daily(control)
    assert await rechecks.look() == 1
    assert await rechecks.look() == 0
    (found,) = await control.services.hostnames.list(scope=None)
    (entry,) = await control.store.list_audit(AuditQuery(action="route.verify"))
    assert entry.tenant == found.record.tenant
    (waiting,) = await control.services.hostnames.waiting(scope=None)
    assert {waiting.record.tenant, found.record.tenant} == {"acme", "beta"}


async def test_the_older_the_less_often(control: Control, world: Published) -> None:
    await claimed(control, "acme", "shop.example")
    (waiting,) = await control.services.hostnames.waiting(scope="acme")
    claim = waiting.claim
    assert claim is not None
    clock = Clock(claim.created_ms / 1000)
    rechecks = Rechecks(control.services.hostnames, least_seconds=LEAST, clock=clock)
    await rechecks.look()
    for wait, asked in (
        (LEAST - 1, 1),
        (1, 2),
        (86_400, 3),
        (86_400 / 8 - 1, 3),
        (1000, 4),
        (864_000, 5),
        (MOST_SECONDS - 1, 5),
        (1, 6),
    ):
        clock.now += wait
        await rechecks.look()
        assert len(world.asked) == asked, (wait, asked)


async def test_what_waited_too_long_is_forgotten(
    control: Control, world: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claimed(control, "acme", "shop.example")
    monkeypatch.setattr(ownership, "DAYS", 0)
    assert await Rechecks(control.services.hostnames, least_seconds=0).look() == 0
    assert (world.asked, await control.store.list("claim:")) == ([], [])
