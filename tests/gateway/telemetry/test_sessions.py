"""Tails that were asked for: how many, how long, and who may listen."""

from __future__ import annotations

import pytest

from gateway.model.script import ScriptKey
from gateway.store.base import StoredToken
from gateway.telemetry import sessions
from gateway.telemetry.filters import Filters
from gateway.telemetry.sessions import Session, Sessions, SessionsFull

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def session(script: str = "acme", account: str | None = "acme") -> Session:
    token = StoredToken(id="t1", hash="h", tenant=account, created_ms=1)
    return Session(ScriptKey("production", script), "acme", token, Filters([]))


async def test_only_its_secret_opens_it() -> None:
    opened, one, other = Sessions(), session(), session()
    opened.create(one)
    opened.create(other)
    assert opened.unlock(one.id, one.secret) is one
    for secret in ("", other.secret, "\udc80", one.secret + "x"):
        assert opened.unlock(one.id, secret) is None
    assert opened.unlock("nothing", one.secret) is None


async def test_so_many_of_a_script_and_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Sessions()
    for _ in range(sessions.MAX_PER_SCRIPT):
        opened.create(session())
    with pytest.raises(SessionsFull, match="of this script"):
        opened.create(session())
    opened.create(session(account=None))  # the operator's places are nobody else's
    for number in range(sessions.MAX_PER_ACCOUNT - sessions.MAX_PER_SCRIPT):
        opened.create(session(f"acme-{number}"))
    with pytest.raises(SessionsFull, match="of this account"):
        opened.create(session("acme-more"))
    monkeypatch.setattr(sessions, "MAX_OPEN", sessions.MAX_PER_ACCOUNT + 1)
    with pytest.raises(SessionsFull, match="on this node"):
        opened.create(session("other", account="other"))
    opened.create(session("other", account=None))


async def test_those_that_were_left_make_room() -> None:
    """A client that is interrupted cannot delete its tail; ten of them must not lock it out."""
    opened = Sessions()
    for _ in range(sessions.MAX_PER_SCRIPT * 2):
        one = session()
        opened.create(one)
        opened.leave(one, opened.enter(one))
    kept = opened.list(one.key, "acme")
    assert len(kept) == sessions.MAX_PER_SCRIPT
    assert kept[-1] is one
    for one in kept:
        opened.enter(one)
    with pytest.raises(SessionsFull):
        opened.create(session())


async def test_what_nobody_listens_to_ends_soon_and_everything_ends() -> None:
    clock = Clock()
    opened = Sessions(clock)
    left, heard = session(), session()
    opened.create(left)
    opened.create(heard)
    place = opened.enter(heard)
    clock.now += sessions.UNUSED_SECONDS
    assert opened.list(heard.key, "acme") == [heard]
    assert left.ended.result() == "nobody listened to the tail"
    opened.leave(heard, place)
    clock.now += sessions.UNUSED_SECONDS - 1
    place = opened.enter(heard)  # it came back in time
    clock.now += sessions.SECONDS
    assert opened.is_over(heard)
    assert heard.ended.result() == "the tail has expired"
    opened.leave(heard, place)
    assert opened.get(heard.id) is None


async def test_the_newest_listener_wins() -> None:
    opened, one = Sessions(), session()
    opened.create(one)
    first = opened.enter(one)
    second = opened.enter(one)
    assert first.done()
    assert not second.done()
    opened.leave(one, first)
    assert one.listener is second
