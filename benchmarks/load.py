"""Load from a process of its own: wrk where it is installed, else a small one of ours."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass
class Load:
    """One round's result."""

    tool: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


def measure(
    port: int, host: str, *, connections: int, seconds: float, path: str = "/", tenants: int = 0
) -> Load:
    """Load ``http://127.0.0.1:port/path`` with ``Host: host`` for a while.

    With ``tenants`` one host after the other is asked: for ``hello.localhost`` these are
    ``hello0.localhost`` and so on.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        command = [sys.executable, "-m", "benchmarks.load", str(port), host, path]
        command += [str(connections), str(seconds), str(tenants)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return Load(**json.loads(done.stdout))
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if tenants:
            script.write(_turns(host, path, tenants))
            script.flush()
            command += ["-s", script.name]
        command += ["-H", f"Host: {host}", f"http://127.0.0.1:{port}{path}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return _parse_wrk(done.stdout)


def _turns(host: str, path: str, tenants: int) -> str:
    """A script for wrk, which asks one host after the other."""
    first, _, rest = host.partition(".")
    return f"""
local requests, number = {{}}, 0
init = function(args)
  for count = 0, {tenants - 1} do
    requests[count] = wrk.format("GET", "{path}", {{["Host"] = "{first}" .. count .. ".{rest}"}})
  end
end
request = function()
  number = (number + 1) % {tenants}
  return requests[number]
end
"""


def _parse_wrk(text: str) -> Load:
    def latency(percent: str) -> float:
        match = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.M)
        return float(match[1]) * _UNITS[match[2]] if match else float("nan")

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = int(bad[1]) if bad else 0
    errors += sum(int(n) for n in sockets.groups()) if sockets else 0
    return Load("wrk", float(rate[1]) if rate else 0.0, latency("50"), latency("99"), errors)


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer is complete (needs Content-Length)."""

    def __init__(self, requests: Iterator[bytes], deadline: float, samples: list[float]) -> None:
        self._requests, self._deadline, self._samples = requests, deadline, samples
        self.done = asyncio.get_running_loop().create_future()
        self.errors = 0
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if not separator or (length and len(body) < int(length[1])):
            return
        self._buffer = b""
        now = time.perf_counter()
        self._samples.append(now - self._sent_at)
        self.errors += head[9:10] != b"2"
        if now < self._deadline:
            self._next()
        elif not self.done.done():
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.errors += 1
            self.done.set_result(None)


async def _load(
    port: int, host: str, path: str, connections: int, seconds: float, tenants: int = 0
) -> Load:
    first, _, rest = host.partition(".")
    hosts = [f"{first}{number}.{rest}" for number in range(tenants)] or [host]
    requests = itertools.cycle(
        [f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode() for name in hosts]
    )
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(requests, deadline, samples), "127.0.0.1", port
        )
        made.append(connection)
    await asyncio.gather(*(connection.done for connection in made))
    samples.sort()
    return Load(
        "builtin",
        len(samples) / seconds,
        samples[len(samples) // 2] * 1000,
        samples[int(len(samples) * 0.99)] * 1000,
        sum(connection.errors for connection in made),
    )


if __name__ == "__main__":
    import uvloop

    _port, _host, _path, _connections, _seconds, *_tenants = sys.argv[1:]
    _tenants_count = int(_tenants[0]) if _tenants else 0
    result = uvloop.run(
        _load(int(_port), _host, _path, int(_connections), float(_seconds), _tenants_count)
    )
    print(json.dumps(asdict(result)))
