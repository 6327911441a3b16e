"""Several processes that serve as one node: in force everywhere, counted together, healed apart."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.support.served import Served, descendants, launch, wait_until, wait_until_gone

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
import asyncio
from workers import Response

inside = 0

async def on_fetch(request):
    global inside
    inside += 1
    seen = inside
    await asyncio.sleep(0.05)
    inside -= 1
    return Response(str(seen))
"""


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Served]:
    with launch(folder / "data", ["--processes", "2", *options]) as served:
        yield served


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("processes")) as served:
        yield served


def others(served: Served) -> list[int]:
    """The processes beside the leader."""
    return [pid for pid in children(served.node) if b"\0serve\0" in cmdline(pid)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


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


def requests_counted(served: Served, name: str) -> int:
    page = httpx.get(f"{served.facts['api']}/metrics", timeout=30).text
    found = re.findall(rf'waypost_requests_total{{[^}}]*script="{name}"[^}}]*}} (\d+)', page)
    return sum(map(int, found))


def test_two_processes_serve_and_say_so(node: Served) -> None:
    assert node.facts["processes"] == 2
    assert len(others(node)) == 1
    assert httpx.get(f"{node.facts['api']}/readyz").json()["processes"] == 2
    node.deploy("who", WHO)
    use_both(node, "who")


def test_what_was_deployed_is_in_force_in_every_process(node: Served) -> None:
    node.deploy("version", WHO.replace("str(uuid.uuid4())", '"0"'))
    deployed = 0
    stale: list[str] = []

    def work(client: httpx.Client, enough: Event) -> None:
        least = deployed
        status, text = ask(node, "version", client).split(" ", 1)
        if status != "200" or int(text) < least:
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


def test_what_a_plan_allows_at_once_holds_for_both_together(tmp_path: Path) -> None:
    """One process alone could have 4: were they counted apart, there would be 8."""
    config = tmp_path / "routing.yaml"
    config.write_text("plans: {free: {concurrency: 4, instances: 2}}\ndefault_plan: free\n")
    done = 0
    changing = threading.Lock()
    with serve(tmp_path, "--config", str(config)) as served:
        served.deploy("slow", SLOW)

        def work(client: httpx.Client, enough: Event) -> None:
            nonlocal done
            answer = ask(served, "slow", client)
            assert answer.startswith("200 "), answer
            with changing:
                done += 1

        with clients(12, work):
            wait_until(lambda: done >= 60)
            began, before = time.monotonic(), done
            wait_until(lambda: done >= before + 60)
            took = time.monotonic() - began
    # 4 at once, each 50 ms or longer: more could not have been done by then.
    assert (done - before) <= 4 * (took / 0.05 + 2) + 12


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
        heard = set()
        lines = tail.iter_lines()
        while len(heard) < 20:
            line = next(lines)
            if line.startswith("data: "):
                heard.add(json.loads(line[6:])["waypost"]["ray"])
    assert heard == rays


def test_a_process_that_dies_is_replaced_while_the_other_serves(node: Served) -> None:
    node.deploy("who", WHO)
    use_both(node, "who")
    counted = requests_counted(node, "who")
    leader, [other] = node.node, others(node)
    below = descendants(other)
    os.kill(other, signal.SIGKILL)
    assert not wait_until_gone({other, *below}, 20)
    assert node.get("who").status_code == 200
    node.deploy("who", WHO)
    wait_until(lambda: bool(others(node)))
    wait_until(lambda: httpx.get(f"{node.facts['api']}/readyz").json()["processes"] == 2)
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


def test_a_leader_that_dies_takes_all_with_it_and_is_replaced(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.deploy("who", WHO)
        below = descendants(served.process.pid)
        os.kill(served.node, signal.SIGKILL)
        assert served.get("who").status_code == 200
        assert not wait_until_gone(below, 20)
        wait_until(lambda: httpx.get(f"{served.facts['api']}/readyz").json()["processes"] == 2)
        use_both(served, "who")


def test_a_reload_under_load_loses_no_request(tmp_path: Path) -> None:
    seen: list[str] = []
    with serve(tmp_path) as served:
        served.deploy("who", WHO)
        use_both(served, "who")
        old = descendants(served.process.pid)
        with clients(8, lambda client, _: seen.append(ask(served, "who", client))):
            wait_until(lambda: len(seen) > 50)
            served.process.send_signal(signal.SIGHUP)
            assert not wait_until_gone(old, 50)
            target = len(seen) + 100
            wait_until(lambda: len(seen) > target)
        assert {line.split()[0] for line in seen} == {"200"}
        assert len(others(served)) == 1
        family = served.family()
        served.process.terminate()
        assert served.process.wait(30) == 0
        assert not wait_until_gone(family, 10)


def test_no_process_outlives_the_manager(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.deploy("who", WHO)
        use_both(served, "who")
        family = served.family()
        served.process.kill()
        served.process.wait()
        assert not wait_until_gone(family, 20)
