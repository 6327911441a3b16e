"""Processes that somebody else kills: no tenant is told that it was its code."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.errors import CpuExceeded, PlatformFailed, TenantFailed
from gateway.pool.instance import Instance
from gateway.pool.pool import pause_after
from sandbox import Sandbox, SandboxSpec, SpawnError
from tests.support.node import LiveNode, live_node
from tests.support.observed import Observed
from tests.support.raw import LATE, wire
from tests.support.served import wait_until
from tests.support.sockets import client, closed_with

TURNWISE = """
import time
from workers import Response

def on_fetch(request):
    if request.url.endswith("/wait"):
        time.sleep(60)
    return Response("ok")
"""
"""One request at a time."""
SHARED = TURNWISE.replace("def on_fetch", "async def on_fetch").replace(
    "time.sleep", "await __import__('asyncio').sleep"
)
STREAMS = """
import asyncio
from workers import Response

async def chunks():
    yield b"first"
    await asyncio.sleep(60)

async def on_fetch(request):
    return Response(chunks())
"""

TALKS = """
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "heard"})
"""


class Doomed:
    """A node whose processes are killed by somebody who is none of it."""

    def __init__(self, live: LiveNode, node: Observed) -> None:
        self.live = live
        self.node = node

    def kill_keeper(self) -> None:
        supervisor: Any = self.node.supervisor
        os.kill(supervisor._zygote._process.pid, signal.SIGKILL)

    def kill_zygote(self) -> None:
        supervisor: Any = self.node.supervisor
        keeper = supervisor._zygote._process.pid
        with open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)

    def instance(self, name: str) -> Instance:
        [found] = [i for i in self.node.pool.instances() if i.version.key.name == name]
        return found

    def wait_for(self, name: str, requests: int) -> None:
        """Until so many are in an instance, which may have to be started first."""

        def in_flight() -> list[int]:
            instances = self.node.pool.instances()
            return [i.in_flight for i in instances if i.version.key.name == name]

        wait_until(lambda: in_flight() == [requests])

    def debts(self) -> dict[str, float]:
        """What deaths count against tenants."""
        turns: Any = self.node.pool._turns
        return {name: account.debt for name, account in turns._accounts.items() if account.debt}


@pytest.fixture(scope="module")
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doomed]:
    with live_node(tmp_path_factory.mktemp("doomed"), make=Observed) as live:
        assert isinstance(live.node, Observed)
        scripts = (("turnwise", TURNWISE), ("shared", SHARED), ("streams", STREAMS))
        for name, source in (*scripts, ("talks", TALKS)):
            live.deploy(name, source, plan="enterprise", limits={"instances": 1})
        yield Doomed(live, live.node)


@pytest.fixture(autouse=True)
def forgiven(doomed: Doomed) -> None:
    """Neither zygotes nor deaths of one test count for the next."""
    supervisor: Any = doomed.node.supervisor
    supervisor._launches.clear()
    turns: Any = doomed.node.pool._turns
    for account in turns._accounts.values():
        account.debt = 0.0


def get(name: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode()


@pytest.mark.parametrize("name", ["turnwise", "shared"])
def test_what_was_in_an_instance_when_its_zygote_ended_is_the_platforms_fault(
    doomed: Doomed, name: str
) -> None:
    live = doomed.live
    assert live.request(name).text == "ok"
    with live.tail(name) as tail, wire(live.started.tenant_port) as connection:
        connection.send(get(name, "/wait"))
        doomed.wait_for(name, 1)
        doomed.kill_keeper()
        answer = connection.answer()
        (event,) = tail.wait()
    assert (answer.status, answer.code) == (503, "platform")
    assert answer.get("waypost-outcome") == "internalError"
    assert answer.get("retry-after") == "1"
    assert event["outcome"] == "internalError"
    assert event["exceptions"] == []
    assert doomed.debts() == {}
    assert live.request(name).text == "ok"


def test_an_answer_that_has_begun_is_cut_and_is_the_platforms_fault(doomed: Doomed) -> None:
    live = doomed.live
    with live.tail("streams") as tail, wire(live.started.tenant_port) as connection:
        connection.send(get("streams"))
        doomed.wait_for("streams", 1)
        received = connection.socket.recv(1 << 16)
        doomed.kill_zygote()
        received += connection.rest()
        (event,) = tail.wait()
    assert b"first" in received
    assert not received.endswith(b"0\r\n\r\n")
    assert (event["outcome"], event["exceptions"]) == ("internalError", [])
    assert doomed.debts() == {}


def test_a_websocket_is_closed_as_by_the_platform(doomed: Doomed) -> None:
    live = doomed.live
    with live.tail("talks") as tail, client(live.started.tenant_port, "talks") as connection:
        connection.send("hello")
        assert connection.recv(LATE) == "heard"
        doomed.kill_zygote()
        assert closed_with(connection) == (1011, "The platform could not go on.")
        (event,) = tail.wait()
    assert (event["outcome"], event["exceptions"]) == ("internalError", [])
    assert doomed.debts() == {}


def test_those_who_waited_are_served_by_the_next_zygotes_instance(doomed: Doomed) -> None:
    live = doomed.live
    with wire(live.started.tenant_port) as connection, ThreadPoolExecutor(4) as visitors:
        connection.send(get("turnwise", "/wait"))
        wait_until(lambda: bool(doomed.node.held()["in flight"]))
        others = [visitors.submit(live.request, "turnwise") for _ in range(4)]
        wait_until(lambda: sum(g.waiting() for g in doomed.node.held()["waiting"]) == 4)
        doomed.kill_zygote()
        assert connection.answer().status == 503
        assert [other.result().text for other in others] == ["ok"] * 4


def test_a_request_that_was_not_sent_yet_is_served_by_another_instance(doomed: Doomed) -> None:
    """The instance is dead, and nobody has seen it: what is put in is not on its wire yet."""
    live, name = doomed.live, "shared"
    with wire(live.started.tenant_port) as connection:
        connection.send(get(name))
        assert connection.answer().body == b"ok"
        doomed.wait_for(name, 0)
        instance = doomed.instance(name)
        held, going = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            going.wait(60)

        instance.channel.loop.call_soon_threadsafe(hold)
        assert held.wait(60)
        pidfd = os.pidfd_open(instance.sandbox.pid)
        connection.send(get(name))
        os.kill(instance.sandbox.pid, signal.SIGKILL)
        select.select([pidfd], [], [], 60)
        os.close(pidfd)
        going.set()
        answer = connection.answer()
    assert (answer.status, answer.body) == (200, b"ok")


class Killer:
    """Takes the place of a supervisor's ``spawn``: what it gives is killed, so many times."""

    def __init__(self, doomed: Doomed, who: str, times: int) -> None:
        self._doomed = doomed
        self._spawn = doomed.node.supervisor.spawn
        self._who = who
        self._times = times
        self.spawned = 0

    async def __call__(self, spec: SandboxSpec) -> Sandbox:
        sandbox = await self._spawn(spec)
        self.spawned += 1
        if self.spawned <= self._times:
            self._kill(sandbox)
        return sandbox

    def _kill(self, sandbox: Sandbox) -> None:
        # Stopped, it takes its code and does not come to be ready.
        os.kill(sandbox.pid, signal.SIGSTOP)
        if self._who == "zygote":
            self._doomed.kill_zygote()
        elif self._who == "instance":
            os.kill(sandbox.pid, signal.SIGKILL)
        else:
            asyncio.get_running_loop().call_later(0.1, os.kill, sandbox.pid, signal.SIGKILL)


@pytest.mark.parametrize("who", ["zygote", "instance", "instance with code"])
def test_one_that_is_killed_while_it_starts_is_started_once_more(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    live, name = doomed.live, "shared"
    assert live.request(name).text == "ok"
    doomed.instance(name).channel.loop.call_soon_threadsafe(doomed.node.forget)
    wait_until(lambda: name not in {i.version.key.name for i in doomed.node.pool.instances()})
    killer = Killer(doomed, who, 1)
    monkeypatch.setattr(doomed.node.supervisor, "spawn", killer)
    assert live.request(name).text == "ok"
    assert killer.spawned == 2
    assert doomed.debts() == {}


@pytest.mark.parametrize(
    ("source", "said"),
    [("import os; os._exit(7)", "status 7"), ("import os; os.close(3)", "status 70")],
)
def test_code_that_ends_its_process_at_import_is_run_once(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    killer = Killer(doomed, "nobody", 0)
    monkeypatch.setattr(doomed.node.supervisor, "spawn", killer)
    answer = doomed.live.upload("ends", {"main.py": source})
    assert answer.status_code == 400
    assert said in answer.text
    assert killer.spawned == 1


def test_one_that_is_killed_again_and_again_is_refused(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = Killer(doomed, "instance", 100)
    monkeypatch.setattr(doomed.node.supervisor, "spawn", killer)
    answer = doomed.live.upload("unlucky", {"main.py": TURNWISE})
    assert answer.status_code == 400
    assert killer.spawned == 2


def test_where_none_can_be_started_the_next_try_is_near(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, name = doomed.live, "turnwise"
    assert live.request(name).text == "ok"
    doomed.instance(name).channel.loop.call_soon_threadsafe(doomed.node.forget)
    wait_until(lambda: name not in {i.version.key.name for i in doomed.node.pool.instances()})

    async def refuse(spec: SandboxSpec) -> Sandbox:
        raise SpawnError("no more processes")

    with monkeypatch.context() as broken:
        broken.setattr(doomed.node.supervisor, "spawn", refuse)
        answer = live.request(name)
    assert (answer.status_code, answer.headers["waypost-code"]) == (503, "platform")
    assert answer.headers["retry-after"] == "1"
    wait_until(lambda: live.request(name).text == "ok")


def test_who_cannot_help_it_does_not_wait_longer_and_longer() -> None:
    own = [pause_after(failures, TenantFailed("it raises")) for failures in range(1, 20)]
    assert own == sorted(own)
    assert own[-1] == pause_after(19, CpuExceeded("it burns")) == 30
    assert pause_after(19, PlatformFailed("no instance")) == 1
