"""Several processes that serve as one node: in force everywhere, counted together, healed apart."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.support.served import Served, descendants, launch, wait_until, wait_until_gone
from tests.support.sockets import client as websocket

WHO = """
import uuid
from workers import Response

me = ""

async def on_fetch(request):
    global me
    me = me or str(uuid.uuid4())
    return Response(me)
"""
SLOW = """
import asyncio, time
from workers import Response

async def on_fetch(request):
    began = time.monotonic_ns()
    await asyncio.sleep(0.03)
    return Response(f"{began} {time.monotonic_ns()}")
"""

ECHO = """
import uuid
from workers import Response, WebSocketPair

me = str(uuid.uuid4())

async def on_fetch(request):
    if request.headers.get("upgrade") != "websocket":
        return Response(me)
    ours, theirs = WebSocketPair()
    theirs.accept()
    theirs.add_event_listener("message", lambda event: theirs.send(f"{event.data} {me}"))
    return Response(None, status=101, web_socket=ours)
"""
STREAM = """
import asyncio, uuid

me = str(uuid.uuid4()).encode()

async def app(scope, receive, send):
    slow = scope["path"] == "/slow"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"began " if slow else me, "more_body": True})
    await asyncio.sleep(1 if slow else 0)
    await send({"type": "http.response.body", "body": b"still ended" if slow else b""})
"""
HELD = """
import asyncio, uuid
from contextlib import suppress

me = str(uuid.uuid4()).encode()
go = asyncio.Event()

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/go":
        go.set()
    else:
        await send({"type": "http.response.body", "body": me, "more_body": True})
        with suppress(TimeoutError):
            await asyncio.wait_for(go.wait(), 25)
    await send({"type": "http.response.body", "body": b"ended"})
"""
BROKEN = "async def on_fetch(request):\n    raise ValueError('broken')\n"
CONFIG = """
plans: {free: {concurrency: 4, instances: 2}}
rollback: {error_percent: 30, requests: 20}
"""


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Served]:
    with launch(folder / "data", ["--processes", "2", *options]) as served:
        yield served


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("processes")
    config = folder / "routing.yaml"
    config.write_text(CONFIG)
    with serve(folder, "--config", str(config)) as served:
        yield served


def others(served: Served) -> list[int]:
    """The processes beside the leader."""
    return [pid for pid in children(served.node) if b"\0serve\0" in cmdline(pid)]


def children(pid: int) -> list[int]:
    """Those of a process; none when it is gone."""
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def cmdline(pid: int) -> bytes:
    """How a process was called; nothing when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextmanager
def clients(count: int, work: Callable[[httpx.Client, Event], None]) -> Iterator[None]:
    """So many that keep a connection each, until the block is over; their errors are raised."""
    enough = Event()

    def run() -> None:
        with httpx.Client(timeout=30) as client:
            while not enough.is_set():
                work(client, enough)

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(run) for _ in range(count)]
        try:
            yield
        finally:
            enough.set()
        for one in running:
            one.result()


def ask(served: Served, name: str, client: httpx.Client) -> str:
    answer = client.get(served.facts["tenants"], headers={"Host": f"{name}.localhost"})
    return f"{answer.status_code} {answer.text}"


def use_both(served: Served, name: str) -> None:
    """Ask over new connections until both processes have answered."""
    seen: set[str] = set()

    def both() -> bool:
        seen.add(served.get(name).text)
        return len(seen) > 1

    wait_until(both)


def serving(served: Served) -> int:
    """How many processes serve, as the node says itself."""
    try:
        answer = httpx.get(f"{served.facts['api']}/readyz", timeout=30)
    except httpx.HTTPError:
        return 0
    return int(answer.json()["processes"])


def requests_counted(served: Served, name: str) -> int:
    page = httpx.get(f"{served.facts['api']}/metrics", timeout=30).text
    found = re.findall(rf'waypost_requests_total{{[^}}]*script="{name}"[^}}]*}} (\d+)', page)
    return sum(map(int, found))


def test_two_processes_serve_and_say_so(node: Served) -> None:
    assert node.facts["processes"] == 2
    assert len(others(node)) == 1
    assert serving(node) == 2
    node.deploy("who", WHO)
    use_both(node, "who")


def test_what_was_deployed_is_in_force_in_every_process(node: Served) -> None:
    node.deploy("version", WHO.replace("str(uuid.uuid4())", '"0"'))
    deployed = 0
    stale: list[str] = []

    def work(client: httpx.Client, enough: Event) -> None:
        least = deployed
        status, text = ask(node, "version", client).split(" ", 1)
        # A machine that is busy with other things may shed some; none may be of an older version.
        if status != "503" and (status != "200" or int(text) < least):
            stale.append(f"{status} {text} after {least}")

    with clients(4, work):
        for number in range(1, 31):
            node.deploy("version", WHO.replace("str(uuid.uuid4())", f'"{number}"'))
            deployed = number
    assert stale == []
    assert node.get("version").text == "30"


def test_a_deleted_script_and_a_suspended_tenant_are_so_everywhere(node: Served) -> None:
    headers = {"Authorization": f"Bearer {node.token}"}
    node.deploy("gone", WHO)
    use_both(node, "gone")
    api = f"{node.facts['api']}/v1/tenants/gone"
    for status, expected in (("suspended", 403), ("active", 200)):
        httpx.put(api, json={"status": status}, headers=headers).raise_for_status()
        assert {node.get("gone").status_code for _ in range(8)} == {expected}
    httpx.delete(api, headers=headers).raise_for_status()
    assert {node.get("gone").status_code for _ in range(8)} == {404}
    assert requests_counted(node, "gone") == 0


def most_at_once(spans: list[tuple[int, int]]) -> int:
    """Of spans from the one clock that all processes of a machine have."""
    ends = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    return max(accumulate(step for _, step in ends))


def test_what_a_plan_allows_at_once_holds_for_both_together(node: Served) -> None:
    """One process alone may have 4; were they counted apart, there would be 8."""
    spans: list[tuple[int, int]] = []

    def work(client: httpx.Client, enough: Event) -> None:
        status, began, ended = ask(node, "slow", client).split()
        assert status == "200"
        spans.append((int(began), int(ended)))

    node.deploy("slow", SLOW)
    use_both(node, "slow")
    with clients(12, work):
        wait_until(lambda: len(spans) >= 150)
    assert most_at_once(spans) == 4


def test_every_request_is_counted_once(node: Served) -> None:
    node.deploy("counted", WHO)
    use_both(node, "counted")
    before = requests_counted(node, "counted")

    def visit(client: httpx.Client, enough: Event) -> None:
        for _ in range(25):
            assert ask(node, "counted", client).startswith("200 ")
        enough.wait(60)

    with clients(8, visit):
        wait_until(lambda: requests_counted(node, "counted") >= before + 200)
    assert requests_counted(node, "counted") == before + 200


def test_websockets_live_in_both_and_are_counted_together(node: Served) -> None:
    node.deploy("echo", ECHO)
    use_both(node, "echo")
    port = int(node.facts["tenants"].rpartition(":")[2])
    with ExitStack() as stack:
        served_by: list[str] = []
        # A process that is slow for a moment takes fewer.
        while len(served_by) < 6 or len(set(served_by)) < 2:
            assert len(served_by) < 40
            socket = stack.enter_context(websocket(port, "echo"))
            socket.send(f"{len(served_by)}")
            number, who = str(socket.recv(timeout=60)).split()
            assert number == str(len(served_by))
            served_by.append(who)
        page = httpx.get(f"{node.facts['api']}/metrics", timeout=30).text
        open_ones = rf'waypost_websockets{{[^}}]*script="echo"[^}}]*}} {len(served_by)}\n'
        assert re.search(open_ones, page)


def test_a_tail_hears_of_both(node: Served) -> None:
    node.deploy("heard", WHO)
    url = f"{node.facts['api']}/v1/scripts/heard/tail"
    headers = {"Authorization": f"Bearer {node.token}"}
    with httpx.stream("GET", url, headers=headers, timeout=30) as tail:
        rays = {
            httpx.get(node.facts["tenants"], headers={"Host": "heard.localhost"}, timeout=10)
            .headers["waypost-ray"]
            for _ in range(20)
        }  # fmt: skip
        heard: set[str] = set()
        lines = tail.iter_lines()
        while len(heard) < 20:
            line = next(lines)
            if line.startswith("data: "):
                heard.add(json.loads(line[6:])["waypost"]["ray"])
    assert heard == rays


def test_failures_in_both_count_for_a_rollback(node: Served) -> None:
    node.deploy("wobbly", WHO)
    use_both(node, "wobbly")
    node.deploy("wobbly", BROKEN)
    asked = 0

    def undone() -> bool:
        nonlocal asked
        asked += 1
        return node.get("wobbly").status_code == 200

    wait_until(undone)
    assert asked >= 20


def test_a_process_that_dies_is_replaced_while_the_other_serves(node: Served) -> None:
    node.deploy("who", WHO)
    use_both(node, "who")
    counted = requests_counted(node, "who")
    leader, [other] = node.node, others(node)
    below = descendants(other)
    os.kill(other, signal.SIGKILL)
    assert not wait_until_gone({other, *below}, 60)
    assert node.get("who").status_code == 200
    node.deploy("who", WHO)
    wait_until(lambda: bool(others(node)))
    wait_until(lambda: serving(node) == 2)
    assert node.node == leader
    use_both(node, "who")
    assert requests_counted(node, "who") > counted


def test_a_process_that_does_not_answer_is_replaced_and_holds_up_nobody_for_long(
    node: Served,
) -> None:
    node.deploy("stuck", WHO)
    [other] = others(node)
    os.kill(other, signal.SIGSTOP)
    node.deploy("stuck", WHO.replace("str(uuid.uuid4())", '"new"'))
    assert {node.get("stuck").text for _ in range(4)} == {"new"}
    wait_until(lambda: others(node) not in ([], [other]))


def test_when_the_leader_dies_the_others_serve_until_another_node_does(node: Served) -> None:
    node.deploy("held", HELD)
    url, headers = node.facts["tenants"], {"Host": "held.localhost"}
    wait_until(lambda: serving(node) == 2)
    below = descendants(node.process.pid)
    [other] = others(node)
    with ExitStack() as stack:
        held: dict[bytes, Iterator[bytes]] = {}
        while len(held) < 2:
            client = httpx.Client(timeout=60)
            with ExitStack() as attempt:
                attempt.enter_context(client)
                answer = attempt.enter_context(client.stream("GET", url, headers=headers))
                assert answer.status_code == 200
                pieces = answer.iter_raw()
                me = next(pieces)
                if me not in held:
                    held[me] = pieces
                    stack.enter_context(attempt.pop_all())
        os.kill(node.node, signal.SIGKILL)
        assert httpx.get(f"{url}/go", headers=headers, timeout=60).status_code == 200
        ends = sorted(end(pieces) for pieces in held.values())
    # One of them was the leader.
    assert ends == [b"cut", b"ended"]
    assert not wait_until_gone({*below, other}, 60)
    node.deploy("who", WHO)
    wait_until(lambda: serving(node) == 2)
    use_both(node, "who")


def end(pieces: Iterator[bytes]) -> bytes:
    """What came after the first piece, or how it was cut off."""
    try:
        return b"".join(pieces)
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return b"cut"


def test_a_reload_under_load_loses_no_request(node: Served) -> None:
    seen: list[str] = []
    node.deploy("who", WHO)
    use_both(node, "who")
    old = descendants(node.process.pid)
    with clients(8, lambda client, _: seen.append(ask(node, "who", client))):
        wait_until(lambda: len(seen) > 50)
        node.process.send_signal(signal.SIGHUP)
        assert not wait_until_gone(old, 60)
        target = len(seen) + 100
        wait_until(lambda: len(seen) > target)
    assert {line.split()[0] for line in seen} == {"200"}
    assert serving(node) == 2


def test_no_process_outlives_the_manager(node: Served) -> None:
    """The last of this file: nothing is left of its node."""
    family = node.family()
    assert len(others(node)) == 1
    node.process.kill()
    node.process.wait()
    assert not wait_until_gone(family, 60)


def test_all_finish_what_they_have_when_they_are_told_to_end(tmp_path: Path) -> None:
    with serve(tmp_path) as served, ExitStack() as stack:
        served.deploy("stream", STREAM)
        use_both(served, "stream")
        family = served.family()
        headers = {"Host": "stream.localhost"}
        open_ones = [
            httpx.stream("GET", f"{served.facts['tenants']}/slow", headers=headers, timeout=30)
            for _ in range(4)
        ]
        bodies = [stack.enter_context(answer).iter_text() for answer in open_ones]
        assert {next(body).split()[0] for body in bodies} == {"began"}
        served.process.terminate()
        assert {"".join(body).split()[-1] for body in bodies} == {"ended"}
        assert served.process.wait(60) == 0
        assert not wait_until_gone(family, 60)
