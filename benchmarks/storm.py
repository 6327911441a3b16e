"""Random hostile frames from eight instances, beside honest visitors."""

from __future__ import annotations

import argparse
import asyncio
import random
import threading
import time
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks.honest import TENANTS, Visitors, watch
from benchmarks.servers import Node, node

INSTANCES = 8
FRAMES_PER_SECOND = 10_000
FRAMES = 500
"""Frames of one request; then it ends, by a frame that is fatal or by an answer."""
FATAL = 0.3
"""How many requests end by a fatal frame."""
SETTLE = 0.1
"""Part of the time that memory may still grow: caches fill, tables reach their size."""
_QUIET_SECONDS = 20.0
_PATIENCE_SECONDS = 20.0
_HONEST = """\
from workers import Response

async def on_fetch(request):
    return Response("this is {name}")
"""
_HOSTILE = """\
import asyncio, os, random, struct, time
from urllib.parse import parse_qs, urlsplit
from sandbox.runtime.context import current
from workers import Response

def frame(kind, stream, payload=b"", flags=0):
    return struct.pack("<IBBHI", len(payload), kind, flags, 0, stream) + payload

def text(data):
    return bytes([0xa0 + len(data)]) + data

def harmless(dice, own):
    odd = dice.randrange(1, 1 << 20, 2) | 1 << 24
    past = dice.randrange(2, own, 2) if own > 2 else own
    kind = dice.randrange(9)
    if kind == 0:
        return frame(7, odd, dice.randbytes(dice.choice((0, 1, 100, 4000))), dice.randrange(2))
    if kind == 1:
        return frame(14, odd, dice.randbytes(4))
    if kind == 2:
        return frame(14, own, bytes(4))
    if kind == 3:
        return frame(15, odd, dice.randbytes(8))
    if kind == 4 and past != own:
        return frame(dice.choice((6, 7, 9, 10)), past, dice.randbytes(dice.randrange(64)))
    if kind == 5:
        return frame(8, own, b"\\x93\\xa3log\\x00\\x91" + text(b"x" * dice.randrange(31)))
    if kind == 6:
        return frame(8, 0, b"\\x93\\xa3log\\x00\\x93\\x90\\x80\\xc0")
    if kind == 7 and past != own and dice.random() < 0.02:
        return frame(11, odd, b"\\x92" + b"\\xcd" + struct.pack(">H", past) + b"\\xa3GET", 1)
    return frame(14, odd, bytes(4))

def fatal(dice, own):
    head = b"\\x92\\xcc\\xc8\\x90"
    return dice.choice((
        dice.randbytes(64),
        b"\\xff\\xff\\xff\\xff\\x07" + bytes(7),
        frame(1, 0, dice.randbytes(8)),
        frame(3, own),
        frame(6, own + 1000, head),
        frame(6, own, head) * 2,
        frame(7, own, b"before its head"),
        frame(6, own, head) + frame(7, own, bytes(65536)) * 5,
        frame(6, own, head[:3] + b"\\xdd\\x00\\x00\\xc8\\x00" + b"\\x92" * 51200),
        frame(8, own, dice.randbytes(200)),
        frame(8, own, b"\\x93\\xa3log\\x00\\x91\\x81\\x92\\x01\\x02\\xc0"),
        frame(9, own, dice.randbytes(200)),
        frame(10, own),
        frame(11, 1, dice.randbytes(200)),
        frame(14, own, b"\\xff\\xff\\xff\\xff"),
        frame(14, own, b"1"),
    ))

def send(data):
    os.set_blocking(3, True)
    while data:
        data = data[os.write(3, data) :]

async def on_fetch(request):
    query = {k: v[0] for k, v in parse_qs(urlsplit(request.url).query).items()}
    frames, seconds = int(query["frames"]), float(query["seconds"])
    dice, own = random.Random(query["seed"]), current.get().stream
    steps = 10
    begun = time.monotonic()
    for step in range(steps):
        data = b"".join(harmless(dice, own) for _ in range(frames // steps))
        cut = dice.randrange(len(data))
        send(data[:cut])
        send(data[cut:])
        await asyncio.sleep(max(0, begun + seconds * (step + 1) / steps - time.monotonic()))
    if query["fatal"] == "True":
        send(fatal(dice, own))
        await asyncio.sleep(0.5)
    return Response("sent")
"""


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Quiet first, then ``--seconds`` of the storm; memory of the gateway, what visitors saw."""
    seconds = max(10.0, arguments.seconds)
    with node() as ours:
        for number in range(TENANTS):
            ours.deploy(f"honest-{number}", _HONEST.format(name=f"honest-{number}"))
        for number in range(INSTANCES):
            ours.plan(f"storm{number}", "enterprise")
            ours.deploy(f"storm{number}", _HOSTILE)
        watch(ours.port, 2)
        quiet = watch(ours.port, min(seconds, _QUIET_SECONDS))
        gateway = _gateway(ours.pid)
        memory, stopped = [_rss_mib(gateway)], threading.Event()
        sampler = threading.Thread(target=_sample, args=(gateway, memory, stopped))
        sampler.start()
        visitors = Visitors(ours.port)
        counts = uvloop.run(_storm(ours, seconds))
        seen = visitors.stop()
        stopped.set()
        sampler.join()
    settled = memory[int(len(memory) * SETTLE) :]
    figures: dict[str, object] = {
        "seconds": seconds,
        "frames_per_second": round(counts.pop("frames") / seconds),
        "hostile_answers": dict(counts),
        "gateway_rss_mib": {
            "before": memory[0],
            "lowest": min(settled),
            "highest": max(settled),
            "last": memory[-1],
        },
        "honest_quiet_ms": {"p50": round(quiet.p50_ms, 2), "p99": round(quiet.p99_ms, 2)},
        "honest_storm_ms": {"p50": round(seen.p50_ms, 2), "p99": round(seen.p99_ms, 2)},
        "honest_requests": len(seen.samples_ms),
        "honest_errors": len(seen.errors),
        "honest_error_examples": seen.errors[:5],
    }
    if not arguments.json:
        for key, value in figures.items():
            print(f"{key}: {value}")
    return figures


async def _storm(ours: Node, seconds: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    await asyncio.gather(*(_drive(ours.port, n, deadline, counts) for n in range(INSTANCES)))
    return counts


async def _drive(port: int, number: int, deadline: float, counts: Counter[str]) -> None:
    """Have one instance send its share, request after request, and catch up after its deaths."""
    dice = random.Random(number)  # noqa: S311 - the same storm each time
    rate = FRAMES_PER_SECOND / INSTANCES
    begun, sent = time.monotonic(), 0
    while (now := time.monotonic()) < deadline:
        due = (sent + FRAMES) / rate - (now - begun)
        fatal = dice.random() < FATAL
        query = f"frames={FRAMES}&seconds={max(0.02, due):.3f}&seed={dice.random()}&fatal={fatal}"
        status, code = await _ask(port, f"storm{number}", f"/?{query}")
        counts[f"{status} {code}".rstrip()] += 1
        # Its frames were read, all of them, if it ended as it was told to.
        if status in (("502", "cut") if fatal else ("200",)):
            counts["frames"] += FRAMES
            sent += FRAMES


async def _ask(port: int, name: str, target: str) -> tuple[str, str]:
    """Status and code of an answer, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"\r\ncontent-length: ")[2].split(b"\r\n", 1)[0]
            if length:
                await reader.readexactly(int(length))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")
    except TimeoutError:
        return "none", ""
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return "cut", ""
    finally:
        writer.close()
    code = head.partition(b"\r\nwaypost-code: ")[2].split(b"\r\n", 1)[0].decode()
    return head[9:12].decode(), code


def _gateway(pid: int) -> int:
    """The process that serves: the largest of the node's own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max([pid, *map(int, children)], key=_rss_mib)


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


def _sample(pid: int, memory: list[float], stopped: threading.Event) -> None:
    while not stopped.wait(1):
        memory.append(_rss_mib(pid))
