"""The soft CPU limit reaches the thread that burns, and no other."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.runtime import threads
from sandbox.runtime.trace import CpuLimitExceeded
from tests.sandbox.runtime.peer import Instance, Reply

COMMON = """
import anyio.to_thread, asyncio, threading, time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
def spin():
    begun = time.thread_time()
    while time.thread_time() < begun + 0.01: pass  # until the others wait for it
    print("burning")
    while True: pass
def stubborn():
    for _ in range(3):
        try:
            spin()
        except BaseException as error:
            print(type(error).__name__)
def told():
    try:
        spin()
    except BaseException as error:
        print("thread", type(error).__name__)
        raise
"""


def stop(instance: Instance, stream: int) -> Reply:
    """Signal the CPU limit from when the handler says that it burns until it is over."""
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    instance.signal_until_done(stream, signal.SIGXCPU)
    return reply


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("async def", "await asyncio.to_thread(spin)"),
        ("async def", "await asyncio.get_running_loop().run_in_executor(pool, spin)"),
        ("async def", "await anyio.to_thread.run_sync(spin)"),
        ("async def", "pool.submit(spin).result()"),
        ("def", "pool.submit(spin).result()"),
        ("def", "run_sync(asyncio.to_thread(spin))"),
    ],
)
def test_it_is_raised_in_the_frame_that_burns(instance: Instance, kind: str, use: str) -> None:
    instance.load(f"""{COMMON}
from workers import run_sync
{kind} on_fetch(request):
    if "ok" not in request.url: {use}
    return pool.submit(str, "ok").result()
""")
    stacks: list[str] = []
    # One more signal may come when who waits has been told already: that is then what is shown.
    while not any("in spin\n    while " in stack for stack in stacks):
        (error,) = stop(instance, instance.open()).exceptions
        assert (error.kind, error.name) == ("cpu", "CpuLimitExceeded")
        stacks.append(error.stack)
        assert len(stacks) < 20, stacks
    assert instance.get("/ok").body == b"ok"


def test_it_is_raised_again_and_again(instance: Instance) -> None:
    instance.load(f"""{COMMON}
async def on_fetch(request):
    await asyncio.to_thread(stubborn)
    return "swallowed"
""")
    reply = stop(instance, instance.open())
    assert reply.lines("log").count("CpuLimitExceeded") == 3
    assert [error.kind for error in reply.exceptions] == ["cpu"]
    assert not reply.status


@pytest.mark.parametrize(
    ("kind", "wait"),
    [("def", "thread.join()"), ("async def", "await over.wait()")],
)
def test_a_thread_that_the_script_began_gets_it(instance: Instance, kind: str, wait: str) -> None:
    instance.load(f"""{COMMON}
{kind} on_fetch(request):
    loop, over = asyncio.get_event_loop(), asyncio.Event()
    def work():
        try: told()
        finally: loop.call_soon_threadsafe(over.set)
    thread = threading.Thread(target=work)
    thread.start()
    print("begun")
    {wait}
    return "joined"
""")
    reply = stop(instance, instance.open())
    # Nobody knows for whom such a thread logs.
    assert ["thread CpuLimitExceeded"] in [log.message for log in instance.outside]
    assert [error.kind for error in reply.exceptions] == ["cpu"]


SHARED = """
gate = threading.Event()
turn = asyncio.Event()
def patient():
    print("waiting")
    gate.wait()
async def on_fetch(request):
    if "wait" in request.url:
        await asyncio.to_thread(patient)
    elif "task" in request.url:
        print("waiting")
        await turn.wait()
    elif "burn" in request.url:
        await asyncio.to_thread(spin)
    else:
        gate.set()
        turn.set()
    return "fine"
"""
REFUSED = """
def refuse(clock):
    raise PermissionError
time.clock_gettime_ns = refuse
"""


@pytest.mark.parametrize(
    ("other", "clocks"),
    [("/wait", ""), ("/task", ""), ("/task", REFUSED)],
    ids=["a thread", "a task", "a task, and clocks of threads cannot be read"],
)
def test_the_threads_of_other_invocations_are_spared(
    instance: Instance, other: str, clocks: str
) -> None:
    instance.load(COMMON + SHARED + clocks)
    waiting = instance.open(other)
    instance.until(lambda: bool(instance.replies[waiting].logs))
    greedy = stop(instance, instance.open("/burn"))
    assert instance.get("/go").body == b"fine"
    patient = instance.finish(waiting)
    assert (patient.body, patient.exceptions) == (b"fine", [])
    assert [error.kind for error in greedy.exceptions] == ["cpu"]


def test_a_thread_that_logs_is_not_torn_apart(instance: Instance) -> None:
    instance.load(f"""{COMMON}
def chatter():
    while True: print("x" * 100)
async def on_fetch(request):
    if "ok" not in request.url: await asyncio.to_thread(chatter)
    return "ok"
""")
    for _ in range(5):
        assert [error.kind for error in stop(instance, instance.open()).exceptions] == ["cpu"]
        assert instance.get("/ok").body == b"ok"


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """No thread takes the interpreter from another that runs."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("seconds", "recalled", "first"), [(60, False, "cpu"), (60, True, "ok"), (-1, False, "ok")]
)
def test_work_that_follows_is_not_hit(seconds: float, recalled: bool, first: str) -> None:
    held, begun, ended = threading.Lock(), threading.Event(), []
    whose: Any = object()

    def wait() -> None:
        begun.set()
        held.acquire()

    def run() -> None:
        for work in (wait, str):
            try:
                threads.at_work(whose, work)
                ended.append("ok")
            except CpuLimitExceeded:
                ended.append("cpu")

    held.acquire()
    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    assert thread.ident is not None
    assert threads.works_for(whose, [thread.ident])
    threads.aim(thread.ident, time.perf_counter() + seconds)
    if recalled:
        threads.recall()
    held.release()
    thread.join()
    assert ended == [first, "ok"]
    assert not threads.works_for(whose, [thread.ident])
    threads.recall()
