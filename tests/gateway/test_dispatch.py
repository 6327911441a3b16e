"""The corridor: who asks for what leads nowhere waits for themselves, before anybody is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.admission.gate import Gate
from gateway.admission.turnstile import AT_ONCE, LOOKUP, SHARE, Turnstile
from gateway.config import Config
from gateway.dispatch import Dispatcher
from gateway.errors import Refusal
from gateway.model.http import Reply, Request
from gateway.model.invocation import Invocation
from gateway.observer import Observer
from gateway.routing.resolver import Resolver
from gateway.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

FLOOD = 200


class CountingStore(SqliteStore):
    """A store that notes which hostnames it is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []

    async def get(self, key: str) -> bytes | None:
        self.asked.append(key)
        return await super().get(key)


class Record(Observer):
    def __init__(self) -> None:
        self.codes: list[str] = []

    def invocation(self, invocation: Invocation) -> None:
        self.codes.append(invocation.code)


class NoInstances:
    def lease(self, *_: object) -> Any:
        raise AssertionError("nothing leads to an instance")


async def blank(refusal: Refusal, request: Request, reply: Reply) -> int:
    return 0


class Unsent:
    """An answer that nobody reads."""

    started = False


def request(host: str, client: str) -> Request:
    return Request(
        ray="r",
        method="GET",
        scheme="http",
        host=host,
        authority=host,
        path=b"/",
        query=b"",
        headers=[],
        client=(client, 1),
        accept="",
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    made = CountingStore(tmp_path / "waypost.db")
    await made.open()
    yield made
    await made.close()


async def test_who_makes_hostnames_up_waits_before_the_store_is_asked(
    store: CountingStore,
) -> None:
    turnstile, record = Turnstile(queue_seconds=60), Record()
    gate = Gate(queue_seconds=60)
    resolver = Resolver(store, Config())
    dispatcher = Dispatcher(resolver, turnstile, gate, NoInstances(), blank, record)
    reply: Any = Unsent()

    def ask(host: str, client: str) -> asyncio.Task[None]:
        return asyncio.create_task(dispatcher.dispatch(request(host, client), reply))

    flood = [ask(f"made-up-{number}.example", "192.0.2.1") for number in range(FLOOD)]
    await asyncio.sleep(0)
    at_first = len(store.asked)
    assert 0 < at_first <= (AT_ONCE + SHARE) // LOOKUP + 1
    await ask("honest.example", "192.0.2.2")
    # It did not wait for what others made up.
    assert store.asked.index("hostname:honest.example") <= at_first + 2 * AT_ONCE // LOOKUP
    await asyncio.gather(*flood)
    assert record.codes == ["hostname_not_configured"] * (FLOOD + 1)
    assert len(store.asked) == FLOOD + 1
    # What is known to lead nowhere takes turns as well, and nobody is asked.
    again = [ask("honest.example", "192.0.2.1") for _ in range(FLOOD)]
    await asyncio.sleep(0)
    assert turnstile.waiting[""] > 0
    await asyncio.gather(*again)
    assert len(store.asked) == FLOOD + 1
