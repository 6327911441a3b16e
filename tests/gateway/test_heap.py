"""Freed memory goes back to the kernel, though small blocks lie among it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from gateway.heap import MUCH, Heap

BLOCK = 60_000
BLOCKS = 2 * MUCH // BLOCK


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not a recent glibc")
def test_what_many_bodies_took_is_given_back_once() -> None:
    before = [b"x" * BLOCK for _ in range(BLOCKS)]
    heap = Heap()
    del before[1::2], before[1::2], before[1::2], before[1::2]
    assert heap.look(), "there was much already"
    bodies = [b"x" * BLOCK for _ in range(BLOCKS)]
    full = resident_bytes()
    # Each of those that stay keeps the heap from shrinking by itself.
    del bodies[1::2], bodies[1::2], bodies[1::2], bodies[1::2]
    assert heap.look()
    assert full - resident_bytes() > MUCH
    assert not heap.look(), "it is gone already"
    for looked in (True, False):
        again = [b"x" * BLOCK for _ in range(BLOCKS)]
        if looked:
            heap.look()
        del again[1::2], again[1::2], again[1::2], again[1::2]
        assert heap.look(), looked
