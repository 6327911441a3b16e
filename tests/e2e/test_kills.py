"""``kill -9`` at any instant of a change: what is there after it is the old state, or the new."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from gateway.model.audit import AuditQuery
from gateway.model.script import ScriptKey
from gateway.store.sqlite import SqliteStore
from tests.support.changing import NAME, SECRET, change_forever, kill
from tests.support.served import SCRIPTS, Served, serve

KEY = ScriptKey("production", NAME)
KILLS = 24
MOST_KILLS = 4 * KILLS
"""More than enough of those are made where most changes are over before the kill."""
STEPS = 8
STEP_SECONDS = 0.0018
"""The points lie this far apart; one change takes about 10 ms."""


class State(NamedTuple):
    """What a script serves."""

    code: str
    secret: str | None


def after(base: State, seed: int, number: int) -> State:
    """The state when this many changes, and this one, were made."""
    if number < 0:
        return base
    before, word = after(base, seed, number - 1), f"{seed}.{number}"
    if number % 3 == 0:
        return State(word, before.secret)
    if number % 3 == 1:
        return State(before.code, word)
    return after(base, seed, number - 2)


async def observed(folder: Path) -> State:
    """The state that is stored, which has to be whole."""
    store = SqliteStore(folder / "waypost.db")
    await store.open()
    try:
        script = await store.get_script(KEY)
        if script is None:
            assert await store.list_versions(KEY) == []
            return State("", None)
        version = await store.get_version(script.version_id)
        assert version is not None
        deployments = await store.list_deployments(KEY)
        kept = {item.id for item in await store.list_versions(KEY)}
        entries = await store.list_audit(AuditQuery(), limit=1000)
    finally:
        await store.close()
    assert deployments[0].version_id == version.id
    assert {item.version_id for item in deployments} <= kept
    assert script.etag == version.etag
    # one and the same transaction: the newest entry is of what serves, and of nothing else
    assert entries[0].after is not None
    assert entries[0].after["version"] == version.id
    assert {entry.status for entry in entries} == {200}
    (word, same) = (module.content.decode() for module in version.modules)
    values = {binding.name: binding.value for binding in version.bindings}
    assert word == same == values["WORD"]
    secret = values.get(SECRET)
    return State(word, None if secret is None else str(secret))


def cut_short(
    process: BaseProcess, said: Connection, number: int, seconds: float
) -> tuple[int, bool]:
    """Kill it so long after that change began; what it said last."""
    news = (-1, True)
    with suppress(EOFError):
        while news != (number, False):
            news = said.recv()
        time.sleep(seconds)
        kill(process.pid)
        while True:
            news = said.recv()
    return news


@pytest.fixture
def processes() -> Iterator[ForkServerContext]:
    """Processes that start fast; nothing of them stays, for tests that count their children."""
    context = multiprocessing.get_context("forkserver")
    yield context
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_a_change_is_whole_or_not_at_all(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    processes.set_forkserver_preload(["tests.support.changing"])
    state, interrupted = State("", None), 0
    for seed in range(MOST_KILLS):
        if seed >= KILLS and interrupted > KILLS // 3:
            break
        said, told = processes.Pipe(duplex=False)
        process = processes.Process(target=change_forever, args=(tmp_path, told, seed))
        process.start()
        told.close()
        # the kind of change that is hit turns, and the point in it wanders
        number, answered = await asyncio.to_thread(
            cut_short, process, said, seed % 3, seed // 3 % STEPS * STEP_SECONDS
        )
        process.join()
        said.close()
        process.close()
        interrupted += not answered
        found = await observed(tmp_path)
        possible = [after(state, seed, number)]
        if not answered:
            possible.append(after(state, seed, number - 1))
        assert found in possible, (seed, number, answered)
        state = found
    assert interrupted > KILLS // 3
    with sqlite3.connect(tmp_path / "waypost.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()


SOURCE = """
from workers import Response
from other import WORD

async def on_fetch(request, env, ctx):
    return Response('{0} ' + WORD)
"""


def upload(served: Served, number: int) -> httpx.Response:
    files = {
        "metadata": (None, '{"main_module": "main.py"}', "application/json"),
        "main.py": ("main.py", SOURCE.format(number), "text/x-python"),
        "other.py": ("other.py", f"WORD = '{number}'\n", "text/x-python"),
    }
    headers = {"Authorization": f"Bearer {served.token or TOKEN}"}
    url = f"{served.facts['api']}{SCRIPTS}/killed"
    return httpx.put(url, files=files, headers=headers, timeout=30)


TOKEN = "wp_" + "kills" * 8


@pytest.mark.timeout(120)
def test_a_node_that_was_killed_serves_the_old_code_or_the_new(tmp_path: Path) -> None:
    last = 0
    for number, seconds in enumerate((0.0, 0.008, 0.02), start=1):
        with serve(tmp_path / "data", WAYPOST_OPERATOR_TOKEN=TOKEN) as served:
            if last:
                assert served.get("killed").text in {f"{last} {last}", f"{last - 1} {last - 1}"}
            assert upload(served, number * 10).is_success
            with ThreadPoolExecutor(1) as thread:
                second = thread.submit(upload, served, number * 10 + 1)
                time.sleep(seconds)
                # The eldest first: none may replace another, or answer for one that is dead.
                for pid in sorted(served.family()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with suppress(httpx.HTTPError):
                    assert second.result().is_success
            last = number * 10 + 1
    with serve(tmp_path / "data") as served:
        assert served.get("killed").text in {f"{last} {last}", f"{last - 1} {last - 1}"}
