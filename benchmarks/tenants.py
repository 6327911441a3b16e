"""Many tenants: going round a thousand of them, and many clients over fifty, one of them hostile.

Of the latter nobody gets another's answer, and nothing leaks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks import crowd
from benchmarks.servers import Node, node

TENANTS = 50
CLIENTS = 100
HONEST = """\
from workers import Response

async def on_fetch(request):
    return Response("this is {name}")
"""
HOSTILE = """\
import ctypes, os, sys, time
from workers import Response

turn = 0

async def on_fetch(request):
    global turn
    turn += 1
    kind = (turn + os.getpid() + time.time_ns()) % 7
    if kind == 0:
        while True: pass
    if kind == 1:
        os._exit(1)
    if kind == 2:
        ctypes.string_at(0)
    if kind == 3:
        x = [bytes(16 << 20) for _ in range(100)]
    if kind == 4:
        os.write(3, b"\\xff" * 4096)
    if kind == 5:
        os.write(1, b"x" * 300000)
    raise RuntimeError("hostile")
"""


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """The rounds, see crowd.py; then ``--seconds`` (at least 10) of load: every body is checked."""
    round_robin = crowd.run(arguments)
    seconds = max(10.0, arguments.seconds)
    with node() as ours:
        for number in range(TENANTS):
            name = f"tenant{number}"
            ours.deploy(name, HOSTILE if number == 0 else HONEST.format(name=name))
        before = _held(ours)
        counts = uvloop.run(_load(ours, seconds))
        time.sleep(2)
        after = _held(ours)
    figures: dict[str, object] = round_robin | {
        "seconds": seconds,
        "counts": dict(counts),
        "honest_requests_per_second": counts["honest 200"] / seconds,
        "descriptors_before_after": (before[0], after[0]),
        "processes_before_after": (before[1], after[1]),
    }
    if not arguments.json:
        for key, value in figures.items():
            print(f"{key}: {value}")
    return figures


async def _load(ours: Node, seconds: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    await asyncio.gather(
        *(_client(ours.port, f"tenant{n % TENANTS}", deadline, counts) for n in range(CLIENTS))
    )
    return counts


async def _client(port: int, name: str, deadline: float, counts: Counter[str]) -> None:
    """One keep-alive connection asking one tenant again and again."""
    who = "hostile" if name == "tenant0" else "honest"
    request = f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode()
    expected = f"this is {name}".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < deadline:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = head[9:12].decode()
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        body = await reader.readexactly(length)
        counts[f"{who} {status} {_header(head, b'waypost-code')}".rstrip()] += 1
        if who == "honest" and status == "200" and body != expected:
            counts["WRONG BODY"] += 1
    writer.close()
    await writer.wait_closed()


def _header(head: bytes, name: bytes) -> str:
    """The value of a header of ``head``; empty when it is not there."""
    return head.lower().partition(b"\r\n" + name + b": ")[2].split(b"\r\n", 1)[0].decode()


def _held(ours: Node) -> tuple[int, int]:
    """Descriptors of the node and processes below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = entry.joinpath("stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    waiting, found = [ours.pid], 0
    while waiting:
        below = children.get(waiting.pop(), [])
        found += len(below)
        waiting.extend(below)
    return len(os.listdir(f"/proc/{ours.gateway}/fd")), found
