"""Threads: cheap in memory and CPU, so that only a limit of their own bounds them."""

from __future__ import annotations

import os

import pytest

from sandbox import Supervisor
from sandbox.jail.rlimits import SHARED_THREADS, THREADS
from sandbox.ladder import LANDLOCK

from .hostile import Inmate, run

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

HOLD_THREADS = """
import ctypes
def attempt():
    libc = ctypes.CDLL(None)
    attributes, thread = ctypes.create_string_buffer(64), ctypes.c_ulong()
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(16384))
    libc.pthread_attr_setguardsize(attributes, ctypes.c_size_t(0))
    held = 1
    while held < 6000 and not libc.pthread_create(
        ctypes.byref(thread), attributes, libc.pause, None
    ):
        held += 1
    return held
"""


def shares(supervisor: Supervisor) -> bool:
    """Whether the kernel counts the threads of all instances as those of one user."""
    return supervisor.level == LANDLOCK and os.geteuid() != 0 and supervisor.cgroups == "off"


async def test_an_instance_cannot_take_the_machines_last_pid(supervisor: Supervisor) -> None:
    assert await run(supervisor, HOLD_THREADS) <= (
        SHARED_THREADS if shares(supervisor) else THREADS
    )


async def test_who_holds_every_thread_takes_none_from_another(supervisor: Supervisor) -> None:
    if shares(supervisor):
        pytest.skip("instances without an id or namespace of their own share one number of threads")
    hog = await Inmate.start(supervisor, HOLD_THREADS)
    try:
        held = await hog.attempt()
        assert held > THREADS - 8
        assert await run(supervisor, HOLD_THREADS) > THREADS - 8
    finally:
        hog.sandbox.close()


async def test_a_small_plan_holds_the_threads_that_frameworks_start(supervisor: Supervisor) -> None:
    """anyio and Starlette start 40; each has its stack, and allocates."""
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
together = Barrier(40, timeout=5)
def work(_):
    kept = bytes(100_000)
    together.wait()
    return len(kept)
def attempt():
    with ThreadPoolExecutor(40) as pool:
        return sum(pool.map(work, range(40)))
"""
    assert await run(supervisor, code) == 40 * 100_000
