"""Honest visitors at a steady pace, in a process of their own, while something else goes on."""

from __future__ import annotations

import asyncio
import json
import os
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

    def __init__(self, port: int, pace_seconds: float = PACE_SECONDS) -> None:
        command = [sys.executable, "-m", "benchmarks.honest", str(port), str(pace_seconds)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._hear()  # It has begun.

    def cut(self) -> Seen:
        """Say what they have seen since this was asked last; they go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("cut\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._hear()))

    def stop(self) -> Seen:
        """End them, and say what they have seen since."""
        out, _ = self._process.communicate("", timeout=_END_SECONDS)
        return Seen(**json.loads(out))

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def watch(port: int, seconds: float) -> Seen:
    """Let them ask for a while."""
    visitors = Visitors(port)
    time.sleep(seconds)
    return visitors.stop()


class _Visit:
    """All of them, in their process."""

    def __init__(self, port: int, pace_seconds: float) -> None:
        self._port = port
        self._pace_seconds = pace_seconds
        self._stopped = asyncio.Event()
        self._seen = Seen([], [])

    async def run(self) -> None:
        """Ask until standard input ends; a line there has them say what they have seen since."""
        asyncio.get_running_loop().add_reader(0, self._hear)
        print("begun", flush=True)
        await asyncio.gather(*(self._ask_on(f"honest-{n}") for n in range(TENANTS)))
        self._tell()

    def _hear(self) -> None:
        if os.read(0, 64):
            self._tell()
        else:
            asyncio.get_running_loop().remove_reader(0)
            self._stopped.set()

    def _tell(self) -> None:
        seen, self._seen = self._seen, Seen([], [])
        print(json.dumps(asdict(seen)), flush=True)

    async def _ask_on(self, name: str) -> None:
        """Ask one tenant at the pace; a late answer counts from when it was due to be asked for."""
        request = f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        due = time.perf_counter()
        while not self._stopped.is_set():
            writer.write(request)
            try:
                status, body = await _read_answer(reader)
            except (OSError, asyncio.IncompleteReadError) as error:
                self._seen.errors.append(f"{name}: {error!r}, and asks no more")
                break
            self._seen.samples_ms.append((time.perf_counter() - due) * 1000)
            if status != b"200" or body != f"this is {name}".encode():
                self._seen.errors.append(f"{name}: {status.decode()} {body[:80]!r}")
            due = max(due + self._pace_seconds, time.perf_counter())
            await asyncio.sleep(due - time.perf_counter())
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Status and body of one."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
    return head[9:12], await reader.readexactly(length)


if __name__ == "__main__":
    uvloop.run(_Visit(int(sys.argv[1]), float(sys.argv[2])).run())
