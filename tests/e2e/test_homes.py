"""More processes than a script may have instances: all serve it, and none has one too many."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from tests.support.raw import wire
from tests.support.served import SCRIPTS, Served, launch, wait_until, wait_until_gone
from tests.support.sockets import client as websocket

PROCESSES = 3
WHO = """
import hashlib, uuid
from workers import Response, WebSocketPair, fetch

me = str(uuid.uuid4())

async def on_fetch(request):
    if request.headers.get("upgrade") == "websocket":
        ours, theirs = WebSocketPair()
        theirs.accept()
        theirs.add_event_listener("message", lambda event: theirs.send(f"{event.data} {me}"))
        return Response(None, status=101, web_socket=ours)
    if "/ask/" in request.url:
        name = request.url.rpartition("/")[2]
        answer = await fetch(f"http://{name}.localhost/", method="POST", body="x" * 200000)
        return Response(await answer.text())
    body = await request.bytes()
    return Response(f"{me} {hashlib.sha256(body).hexdigest()}")

async def on_scheduled(controller):
    print("called", me)
"""
CONFIG = """
plans:
  one: {instances: 1, concurrency: 64}
  two: {instances: 2, concurrency: 64}
  many: {instances: 8, concurrency: 64}
default_plan: one
http: {connections: 60}
"""


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    config = folder / "routing.yaml"
    config.write_text(CONFIG)
    options = ["--processes", str(PROCESSES), "--config", str(config)]
    with launch(folder / "data", options) as served:
        yield served


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("homes")) as served:
        for name in ("a", "b", "c", "d"):
            served.deploy(name, WHO)
        yield served


def api(node: Served, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {node.token}"}
    url = f"{node.facts['api']}{path}"
    return httpx.request(method, url, headers=headers, timeout=60, **more).raise_for_status()


def port(node: Served) -> int:
    return int(node.facts["tenants"].rpartition(":")[2])


def who(node: Served, name: str) -> str:
    """The instance that answers on a new connection."""
    answer = node.get(name)
    assert answer.status_code == 200, answer.text
    return answer.text.split()[0]


def others(served: Served) -> list[int]:
    """The processes beside the leader."""
    pids = Path(f"/proc/{served.node}/task/{served.node}/children").read_text().split()
    found = []
    for pid in pids:
        try:
            if b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found


def series(node: Served, name: str, script: str) -> int:
    page = httpx.get(f"{node.facts['api']}/metrics", timeout=60).text
    return sum(map(int, re.findall(rf'{name}{{[^}}]*script="{script}"[^}}]*}} (\d+)', page)))


def get(name: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode()


@pytest.mark.parametrize(("plan", "most"), [("one", 1), ("two", 2)])
def test_all_processes_serve_it_and_it_has_no_more_instances(
    node: Served, plan: str, most: int
) -> None:
    name = f"plan{plan}"
    api(node, "PUT", f"/v1/tenants/{name}", json={"plan": plan})
    node.deploy(name, WHO)
    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(lambda _: who(node, name), range(80)))
    assert 1 <= len(seen) <= most
    assert series(node, "waypost_instances", name) <= most


def test_its_own_limit_holds_for_all_together(node: Served) -> None:
    api(node, "PUT", "/v1/tenants/own", json={"plan": "many"})
    metadata = {"main_module": "main.py", "limits": {"instances": 1}}
    files = {
        "metadata": (None, json.dumps(metadata), "application/json"),
        "main.py": ("main.py", WHO, "text/x-python"),
    }
    api(node, "PUT", f"{SCRIPTS}/own", files=files)
    assert len({who(node, "own") for _ in range(20)}) == 1


def test_a_connection_may_ask_for_scripts_of_different_homes(node: Served) -> None:
    names = ["a", "b", "c", "d"]
    with wire(port(node)) as connection:
        first: dict[str, bytes] = {}
        for name in names * 3:
            connection.send(get(name))
            answer = connection.answer()
            assert answer.status == 200
            assert first.setdefault(name, answer.body) == answer.body
        connection.send(b"".join(map(get, names * 3)))
        assert [connection.answer().body for _ in names * 3] == [first[n] for n in names] * 3


def test_all_connections_may_be_at_one_home(node: Served) -> None:
    """More than its part of them, each of which is kept and used again."""
    with ExitStack() as stack:
        for count in range(2 * 60 // PROCESSES):
            connection = stack.enter_context(wire(port(node)))
            connection.send(get("a"))
            assert connection.answer().status == 200, count


def test_uploads_arrive_whole(node: Served) -> None:
    body = os.urandom(3_000_000)
    digest = hashlib.sha256(body).hexdigest()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for name in ("a", "b", "c"):
        url, headers = node.facts["tenants"], {"Host": f"{name}.localhost"}
        for content in (body, pieces()):
            answer = httpx.post(url, headers=headers, content=content, timeout=60)
            assert answer.text.split()[1] == digest


def test_websockets_open_where_the_instance_is(node: Served) -> None:
    expected = who(node, "a")
    for number in range(6):
        with websocket(port(node), "a") as socket_:
            socket_.send(str(number))
            assert str(socket_.recv(timeout=60)) == f"{number} {expected}"


def test_scripts_ask_each_other_whatever_their_homes(node: Served) -> None:
    digest = hashlib.sha256(b"x" * 200_000).hexdigest()
    expected = {name: f"{who(node, name)} {digest}" for name in ("a", "b", "c", "d")}
    for asking in expected:
        for asked, text in expected.items():
            headers = {"Host": f"{asking}.localhost"}
            url = f"{node.facts['tenants']}/ask/{asked}"
            assert httpx.get(url, headers=headers, timeout=60).text == text


def test_schedules_are_called_where_the_instance_is(node: Served) -> None:
    for name in ("a", "b", "c", "d"):
        expected = who(node, name)
        api(node, "PUT", f"{SCRIPTS}/{name}/schedules", json=[{"cron": "0 0 1 1 *"}])
        answer = api(node, "POST", f"/v1/scripts/{name}/schedules/run", json={"cron": "0 0 1 1 *"})
        assert answer.json()["outcome"] == "ok"
        assert who(node, name) == expected


def test_every_request_is_counted_once(node: Served) -> None:
    before = series(node, "waypost_requests_total", "a")
    for _ in range(10):
        who(node, "a")
    with wire(port(node)) as connection:
        for name in ("b", "a") * 10:
            connection.send(get(name))
            assert connection.answer().status == 200
    wait_until(lambda: series(node, "waypost_requests_total", "a") >= before + 20)
    assert series(node, "waypost_requests_total", "a") == before + 20
    page = httpx.get(f"{node.facts['api']}/metrics", timeout=60).text
    assert 'waypost_handed_on_total{how="connection"} ' in page


def test_a_new_version_is_what_the_next_request_gets(node: Served) -> None:
    for number in range(10):
        node.deploy("fresh", WHO.replace("str(uuid.uuid4())", f'"{number}"'))
        assert {who(node, "fresh") for _ in range(4)} == {str(number)}


@contextmanager
def load(node: Served, names: list[str]) -> Iterator[list[str]]:
    """Clients that ask for all in turn, over kept connections and new ones; what they got."""
    enough, seen = Event(), list[str]()

    def ask(client: httpx.Client, name: str) -> None:
        answer = client.get(node.facts["tenants"], headers={"Host": f"{name}.localhost"})
        seen.append(str(answer.status_code))

    def work(number: int) -> None:
        while not enough.is_set():
            with httpx.Client(timeout=60) as client:
                for name in names * (1 + number % 3):
                    ask(client, name)

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(work, number) for number in range(6)]
        try:
            yield seen
        finally:
            enough.set()
        for one in running:
            one.result()


def goes_on(seen: list[str], count: int) -> Callable[[], bool]:
    target = len(seen) + count
    return lambda: len(seen) >= target


def test_a_reload_under_load_loses_no_request(node: Served) -> None:
    old = {node.node, *others(node)}
    with load(node, ["a", "b", "c", "d"]) as seen:
        wait_until(goes_on(seen, 50))
        node.process.send_signal(signal.SIGHUP)
        assert not wait_until_gone(old, 90)
        wait_until(goes_on(seen, 50))
    assert set(seen) == {"200"}
    wait_until(lambda: len(others(node)) == PROCESSES - 1)


def test_when_a_home_dies_another_takes_its_place_until_it_is_back(node: Served) -> None:
    names = ["a", "b", "c", "d"]
    victim = others(node)[0]
    os.kill(victim, signal.SIGKILL)
    assert not wait_until_gone({victim}, 60)
    for name in names:
        # What was under way in the dead process is lost, what comes after is not.
        wait_until(lambda: len({node.get(name).status_code for _ in range(3)} - {200}) == 0)  # noqa: B023
    wait_until(lambda: readiness(node) == PROCESSES)
    # They settle again on one instance each.
    for name in names:
        wait_until(lambda: len({who(node, name) for _ in range(12)}) == 1)  # noqa: B023
        wait_until(lambda: series(node, "waypost_instances", name) == 1)  # noqa: B023


def readiness(node: Served) -> int:
    answer = httpx.get(f"{node.facts['api']}/readyz", timeout=60)
    return int(answer.json()["processes"])


def test_what_is_posted_to_a_stopped_process_is_served_when_it_is_replaced(node: Served) -> None:
    """It neither reads its box nor takes up a change, for which it is ended."""
    victim = others(node)[0]
    os.kill(victim, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(patiently, node, name) for name in ("a", "b", "c", "d") * 2]
        node.deploy("fresh", WHO)
        assert {one.result() for one in asked} == {200}


def patiently(node: Served, name: str) -> int:
    """Status of an answer; a connection that the stopped process took itself is lost with it."""
    while True:
        try:
            return node.get(name).status_code
        except httpx.TransportError:
            continue


def test_all_end_in_order(node: Served) -> None:
    """The last of this file."""
    family = node.family()
    node.process.terminate()
    assert node.process.wait(60) == 0
    assert not wait_until_gone(family, 60)
