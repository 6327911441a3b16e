"""What one process asks of another: whole in both directions, and cut short by either end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.bindings.hops import SCOPE_KEY
from gateway.model.http import Request
from gateway.model.invocation import Invocation
from gateway.model.schedule import Scheduled
from gateway.model.script import ScriptKey
from gateway.processes.errands import MOVES, Errands, run_errand
from gateway.processes.mailbox import Mail, Mailboxes
from sandbox import Outcome

pytestmark = pytest.mark.anyio

SCHEDULED = Scheduled(ScriptKey("production", "a"), "* * * * *", 60_000)
SCOPE = {
    "type": "http",
    "method": "POST",
    "http_version": "1.1",
    "scheme": "https",
    "raw_path": b"/a%20b",
    "query_string": b"q=1",
    "headers": [(b"host", b"a.localhost"), (b"x", b"\xff")],
    "client": ("192.0.2.1", 7),
    SCOPE_KEY: 3,
}
App = Callable[[Any, Any, Any], Awaitable[None]]


class Far:
    """The process that is asked."""

    def __init__(self, boxes: Mailboxes) -> None:
        self.app: App = self._silent
        self.tasks: list[asyncio.Task[None]] = []
        self.disconnected = asyncio.Event()
        boxes.listen(self._take)

    def _take(self, mail: Mail, sock: socket.socket, data: bytes) -> None:
        self.tasks.append(asyncio.create_task(run_errand(sock, self.app, self._call)))

    async def _call(self, scheduled: Scheduled, ray: str) -> Invocation:
        request = Request(ray, "", "", "", "", b"", b"", [], None, "", scheduled=scheduled)
        return Invocation(request, 1, 2, outcome=Outcome.OK, status=204)

    async def _silent(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected.set()


class Near:
    """Who asks: its body, and what it was answered."""

    def __init__(self, body: bytes = b"") -> None:
        self._body = [body[start : start + 100_000] for start in range(0, len(body), 100_000)]
        self.said: list[Any] = []
        self.gone = asyncio.Event()

    async def receive(self) -> Any:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(0), "more_body": True}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.said.append(message)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Errands, Far]]:
    leader = Mailboxes.create(2)
    own, *ways = (socket.socket(fileno=os.dup(one)) for one in leader.descriptors(1))
    other = Mailboxes(1, [own], ways)
    far = Far(other)
    yield Errands(leader), far
    async with asyncio.timeout(60):
        await asyncio.gather(*far.tasks, return_exceptions=True)
    leader.close()
    other.close()


async def test_a_request_and_its_answer_arrive_as_they_were(pair: tuple[Errands, Far]) -> None:
    errands, far = pair
    body = os.urandom(1_000_000)
    seen: dict[str, Any] = {}

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        got = b""
        while len(got) < len(body):
            got += (await receive())["body"]
        await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"\xfe")]})
        await send({"type": "http.response.body", "body": got, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    far.app = echo
    near = Near(body)
    async with asyncio.timeout(60):
        assert await errands.ask(1, SCOPE, near.receive, near.send, itself=False)
    assert {name: seen[name] for name in SCOPE} == SCOPE
    assert seen[MOVES] == 1
    assert (near.said[0]["status"], near.said[0]["headers"]) == (201, [(b"a", b"\xfe")])
    assert b"".join(message["body"] for message in near.said[1:]) == body
    assert [message["more_body"] for message in near.said[-2:]] == [True, False]


async def test_who_leaves_is_told_there_and_gets_no_answer(pair: tuple[Errands, Far]) -> None:
    errands, far = pair
    near = Near(b"x")
    near.gone.set()
    async with asyncio.timeout(60):
        assert await errands.ask(1, SCOPE, near.receive, near.send, itself=False)
        await far.disconnected.wait()
    assert near.said == []


@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_that_breaks_off_is_not_made_whole(
    pair: tuple[Errands, Far], begun: bool
) -> None:
    errands, far = pair

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ValueError("broken")

    far.app = broken
    near = Near(b"x")
    async with asyncio.timeout(60):
        assert await errands.ask(1, SCOPE, near.receive, near.send, itself=False) is begun
    assert [message.get("more_body") for message in near.said] == ([None, True] if begun else [])


async def test_what_is_due_is_called_and_told_of(pair: tuple[Errands, Far]) -> None:
    errands, _ = pair
    async with asyncio.timeout(60):
        done = await errands.call(1, SCHEDULED, "ray")
    assert done is not None
    assert (done.status, done.request.ray, done.request.scheduled) == (204, "ray", SCHEDULED)
