"""Every attack of the casebook against a live node, and everything that must be as before."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.ladder import LANDLOCK
from tests.support.served import wait_until

from .arena import (
    FD_ROOM,
    HELLO,
    HOSTILE,
    LOG_LIMIT,
    RSS_ROOM,
    SUBREQUESTS,
    VICTIM_BODY,
    Arena,
    Seen,
    name_outcome,
    open_arena,
)
from .casebook import Case, read_cases

pytestmark = [pytest.mark.isolation]

CASES = read_cases()
PATIENT = next(case for case in CASES if case.id == "r10_endless")
CANARY = Path(f"/var/tmp/waypost-canary-{os.getpid()}.txt")  # noqa: S108 - where an attack would look
CANARY_TEXT = "left alone"
GONE_SECONDS = 10.0
LATE_SECONDS = 5.0
"""What a request may take beyond the wall time, the start of its instance with it."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory, jail_level: str) -> Iterator[Arena]:
    CANARY.write_text(CANARY_TEXT)
    try:
        with open_arena(tmp_path_factory.mktemp("arena"), CASES, jail_level) as arena:
            yield arena
    finally:
        CANARY.unlink(missing_ok=True)


@pytest.fixture
def name(arena: Arena) -> Iterator[str]:
    name = arena.next_name()
    arena.forget_peak()
    yield name
    arena.remove(name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_attack_does_not_work(arena: Arena, name: str, case: Case, jail_level: str) -> None:
    acceptable = case.acceptable
    if case.needs_scratch and jail_level == LANDLOCK:
        acceptable |= {"error"}
    arena.set_plan(HOSTILE, case.plan)
    deployed = arena.deploy(name, case.source)
    if deployed.status_code == 400:
        assert refused_upload(deployed.text) in acceptable, deployed.text
    else:
        assert deployed.status_code == 200, deployed.text
        seen = arena.attack(name, case)
        for one in seen:
            assert name_outcome(one) in acceptable, f"{name_outcome(one)}: {one.describe()}"
            assert one.seconds < case.wall_ms / 1000 + LATE_SECONDS, one.describe()
        for check in sorted(case.post_checks):
            POST_CHECKS.get(check.partition(":")[0], nothing)(arena, name, case, seen)
    nothing_is_left(arena, name)


def nothing(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    """For a check that is made after each attack anyway."""


ENDLESS = """
from workers import Response
async def body():
    while True:
        yield b"x" * 60_000
async def on_fetch(request, env, ctx):
    return Response(body())
"""


def test_a_client_that_does_not_read_holds_no_instance_past_the_wall_time(
    arena: Arena, name: str
) -> None:
    arena.set_plan(HOSTILE, PATIENT.plan)
    assert arena.deploy(name, ENDLESS).status_code == 200
    address = httpx.URL(arena.url)
    with socket.create_connection((address.host, address.port or 80)) as client:
        client.sendall(f"GET /unread HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())
        event = arena.event_of("/unread")
        assert event["outcome"] == "exceededWallTime"
        assert event["wallTime"] < PATIENT.wall_ms + LATE_SECONDS * 1000
    nothing_is_left(arena, name)


@pytest.mark.parametrize(
    "module",
    ["../main.py", "/main.py", "a/../../main.py", "a//main.py", "a\\..\\b.py"],
)
def test_no_module_is_named_out_of_its_bundle(arena: Arena, name: str, module: str) -> None:
    answer = arena.deploy(name, HELLO.format("out"), module)
    assert answer.status_code == 400
    nothing_is_left(arena, name)


def refused_upload(text: str) -> str:
    """Name the outcome of an upload whose code did not load."""
    limits = {"CPU time": "killed_cpu", "memory": "killed_mem", "too long": "killed_wall"}
    return next((name for words, name in limits.items() if words in text), "error")


def nothing_is_left(arena: Arena, name: str) -> None:
    """What always holds after an attack."""
    assert arena.victim() == (200, VICTIM_BODY)
    assert arena.api.get("/readyz").status_code == 200
    assert arena.zygote <= arena.family(), "the zygote is another one"
    assert CANARY.read_text() == CANARY_TEXT
    # The tenant's next version is served, whatever the last one did; it may take its time.
    arena.set_plan(HOSTILE, "free")
    assert arena.deploy(name, HELLO.format("well again")).status_code == 200
    assert arena.ask(name, "/").text == "well again"
    arena.remove(name)
    # The victim's and the spares are the only ones left.
    wait_until(arena.is_at_rest, GONE_SECONDS)
    assert arena.count_descriptors() <= arena.descriptors + FD_ROOM
    assert arena.memory("VmHWM") <= arena.rss + RSS_ROOM, "the gateway took memory for it"


# What must hold after some


def victim_alive(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    assert arena.victim() == (200, VICTIM_BODY)


def same_tenant_recovers(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    assert arena.ask(name, "/well").text == "well"


def no_core_file(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    here = [arena.folder, Path.cwd(), *map(Path, ("/", "/tmp", "/var/tmp"))]  # noqa: S108
    cores = [path for folder in here for path in folder.glob("core*") if path.is_file()]
    assert cores == []


def log_capped(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    for one in seen:
        assert one.event["truncated"] is True
        assert 1024 < sum(len(json.dumps(log["message"])) for log in one.event["logs"])
        texts = "".join(str(part) for log in one.event["logs"] for part in log["message"])
        assert len(texts) <= LOG_LIMIT


def no_header(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    for check in case.post_checks:
        forbidden = check.partition("no_header:")[2]
        assert not forbidden or all(forbidden not in one.headers for one in seen)


def no_file(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    for check in case.post_checks:
        forbidden = check.partition("no_file:")[2]
        assert not forbidden or not os.path.lexists(forbidden)


def differs_between_workers(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    other = arena.next_name()
    arena.deploy(other, case.source)
    one, two = (json.loads(arena.ask(which, "/").text)["detail"] for which in (name, other))
    arena.remove(other)
    keys = next(c for c in case.post_checks if c.startswith("differs")).partition(":")[2]
    assert [key for key in keys.split(",") if one[key] == two[key]] == []


def subrequest_limit_still_enforced(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    said = json.loads(arena.ask(name, "/fetches").text)
    assert ["Too many subrequests" in text for text in said] == [
        number >= SUBREQUESTS for number in range(len(said))
    ]


def repeat_stays_bounded(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    assert len(seen) == case.requests
    memory = max(arena.resident(pid) for pid in arena.instances())
    assert memory < 300 << 20


def intact(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    answer = arena.ask("victim", "/")
    assert (answer.text, answer.headers["content-type"]) == (
        VICTIM_BODY,
        "text/plain;charset=UTF-8",
    )


def idle_burner_ends(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    wait_until(arena.is_at_rest, GONE_SECONDS)


def same_from_two_workers(arena: Arena, name: str, case: Case, seen: list[Seen]) -> None:
    other = arena.next_name()
    arena.deploy(other, case.source)
    result = json.loads(arena.ask(other, "/").text)
    arena.remove(other)
    assert result == seen[0].result


POST_CHECKS: dict[str, Callable[[Arena, str, Case, list[Seen]], None]] = {
    "victim_alive": victim_alive,
    "same_tenant_recovers": same_tenant_recovers,
    "no_core_file": no_core_file,
    "log_capped": log_capped,
    "no_header": no_header,
    "no_file": no_file,
    "differs_between_workers": differs_between_workers,
    "subrequest_limit_still_enforced": subrequest_limit_still_enforced,
    "repeat_60_times_stays_bounded": repeat_stays_bounded,
    "victim_response_intact": intact,
    "idle_burner_ends": idle_burner_ends,
    "same_from_two_workers": same_from_two_workers,
}
"""``no_leftover_processes``, ``zygote_alive``, ``gateway_rss_bounded`` and ``close_is_fast`` are
looked at after each."""
