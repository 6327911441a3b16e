"""Honest visitors at a steady pace, in a process of their own, while something else goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import uvloop

TENANTS = 4
PACE_SECONDS = 0.01
"""Between two requests of a tenant."""
_END_SECONDS = 10


def percentile(samples: list[float], part: float) -> float:
    """The sample below which that part of them lies."""
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * part))]


@dataclass(frozen=True)
class Seen:
    """What the visitors saw."""

    samples_ms: list[float]
    errors: list[str]

    @property
    def p50_ms(self) -> float:
        """Half of the answers came within."""
        return percentile(self.samples_ms, 0.5)

    @property
    def p99_ms(self) -> float:
        """All answers but one in a hundred came within."""
        return percentile(self.samples_ms, 0.99)


class Visitors:
    """Ask ``honest-<n>.localhost`` from here on until ``stop``."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.honest", str(port)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # It has begun.

    def stop(self) -> Seen:
        """End them, and say what they saw."""
        out, _ = self._process.communicate("", timeout=_END_SECONDS)
        return Seen(**json.loads(out))


def watch(port: int, seconds: float) -> Seen:
    """Let them ask for a while."""
    visitors = Visitors(port)
    time.sleep(seconds)
    return visitors.stop()


async def _visit(port: int, name: str, stopped: asyncio.Event, seen: Seen) -> None:
    """Ask one tenant at the pace; a late answer is counted from when it was due to be asked for."""
    request = f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.perf_counter()
    while not stopped.is_set():
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        body = await reader.readexactly(length)
        seen.samples_ms.append((time.perf_counter() - due) * 1000)
        if head[9:12] != b"200" or body != f"this is {name}".encode():
            seen.errors.append(f"{name}: {head[9:12].decode()} {body[:80]!r}")
        due = max(due + PACE_SECONDS, time.perf_counter())
        await asyncio.sleep(due - time.perf_counter())
    writer.close()


async def _main(port: int) -> Seen:
    seen, stopped = Seen([], []), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, stopped.set)
    print("begun", flush=True)
    await asyncio.gather(*(_visit(port, f"honest-{n}", stopped, seen) for n in range(TENANTS)))
    return seen


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_main(int(sys.argv[1]))))))
