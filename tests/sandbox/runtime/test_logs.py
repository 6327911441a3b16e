"""What a script prints and logs."""

from __future__ import annotations

import json

from tests.sandbox.runtime.peer import Instance


def test_every_way_of_logging(instance: Instance) -> None:
    source = """
import logging, sys
from js import console
from workers import console as same
log = logging.getLogger("mine")
log.setLevel(logging.DEBUG)
async def on_fetch(request):
    print("one", 2)
    print("no newline", end="")
    print("to stderr", file=sys.stderr)
    sys.stdout.buffer.write(b"\\nbytes\\n")
    console.log("text", {"a": [1, 2.5, None, True]}, object, float("nan"), 1 << 70)
    same.debug("d"); console.info("i"); console.warn("w"); console.error("e")
    log.debug("debug %s", 1); log.info("info"); log.warning("warning"); log.error("error")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failed")
    print("unfinished", end="")
    return "x"
"""
    instance.load(source)
    reply = instance.get()
    assert reply.lines("log")[:3] == ["one 2", "no newline", "bytes"]
    assert reply.lines("log")[-1] == "unfinished"
    structured = next(log.message for log in reply.logs if log.message[0] == "text")
    assert structured == [
        "text",
        {"a": [1, 2.5, None, True]},
        "<class 'object'>",
        "nan",
        "<integer of 71 bits>",
    ]
    assert reply.lines("error")[:3] == ["to stderr", "e", "error"]
    assert "ZeroDivisionError" in reply.lines("error")[3]
    assert reply.lines("debug") == ["d", "debug 1"]
    assert reply.lines("info") == ["i", "info"]
    assert reply.lines("warn") == ["w", "warning"]
    assert all(log.timestamp_ms > 1_600_000_000_000 for log in reply.logs)


def test_logs_are_cut_at_the_limit_of_the_invocation(instance: Instance) -> None:
    source = """
async def on_fetch(request):
    for number in range(100):
        print("x" * 100)
    return "x"
"""
    instance.load(source, log_bytes=2048)
    for _ in range(2):
        reply = instance.get()
        assert 10 <= len(reply.logs) <= 20
        assert reply.lines("warn") == ["(logs truncated at 2 KiB)"]
        assert reply.logs[-1].level == "warn"


def test_huge_and_hostile_arguments_are_capped(instance: Instance) -> None:
    source = """
from workers import console
class Evil:
    def __str__(self): raise ValueError
async def on_fetch(request):
    print("y" * 3_000_000)
    console.log("\\ud800", Evil(), [["z" * 20_000] * 50] * 50)
    cycle = []
    cycle.append(cycle)
    console.log(cycle)
    return "fine"
"""
    instance.load(source, log_bytes=1 << 20)
    reply = instance.get()
    assert reply.body == b"fine"
    assert len(reply.logs) == 3
    assert all(len(json.dumps(log.message)) <= 64 * 1024 for log in reply.logs)


def test_logs_belong_to_their_invocation(instance: Instance) -> None:
    source = """
import asyncio, threading
gate = asyncio.Event()
def in_thread(name):
    print(name, "thread")
async def on_fetch(request):
    name = request.url[-1]
    print(name, "before", end=" ")
    if name == "1":
        await gate.wait()
    else:
        gate.set()
    print("after")
    await asyncio.to_thread(in_thread, name)
    return name
"""
    instance.load(source)
    first, second = instance.open("/1"), instance.open("/2")
    assert instance.finish(second).lines("log") == ["2 before after", "2 thread"]
    assert instance.finish(first).lines("log") == ["1 before after", "1 thread"]


def test_a_background_task_logs_outside_once_its_invocation_is_over(instance: Instance) -> None:
    source = """
import asyncio
async def later():
    await gate.wait()
    print("orphan")
    said.set()
async def on_fetch(request):
    global gate, said, task
    if "go" in request.url:
        gate.set()
        await said.wait()
    else:
        gate, said = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(later())
    return "x"
"""
    instance.load(source)
    instance.get()
    assert instance.get("/go").logs == []
    assert [log.message for log in instance.outside] == [["orphan"]]
