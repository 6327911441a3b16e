"""Large bodies down and up, clients and tenants that read slowly, and how late an event comes.

Beside them the most memory that the gateway held: bodies pass through, they are not kept.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.servers import node

HOST = "streams.localhost"
APP = Path(__file__).with_name("streams.py")
BUFFER = 1 << 20
EVENTS = 100
SLOW_BYTES, SLOW_PIECE, SLOW_SECONDS = 8 << 20, 256 * 1024, 0.05
SLOW_LARGE_PIECE, SLOW_LARGE_SECONDS = 1 << 20, 0.01
PEERS = ("bare uvicorn", "nginx → uvicorn", "workerd dispatch", "uWSGI http")
NO_EVENTS = ("workerd dispatch",)
"""Its clock stands still between one input and the next, so it cannot say when it sent."""


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Take turns between all of them; medians over the rounds."""
    size = arguments.megabytes * 1_000_000
    with contextlib.ExitStack() as stack:
        room = str(size // (1 << 20) + 1)
        ours = stack.enter_context(node(WAYPOST_PLANS__ENTERPRISE__BODY_MB=room))
        ours.plan("streams", "enterprise")
        ours.deploy("streams", APP.read_text())
        others, skipped = peers.start(stack, "streams", PEERS)
        ports = {"waypost": ours.port, **others}
        samples: dict[str, dict[str, list[float]]] = {
            name: {"down_mb_per_second": [], "up_mb_per_second": []} for name in ports
        }
        for port in ports.values():
            download(port, 1_000_000)
        before = _rss_mb(ours.gateway, "VmRSS")
        _forget_peak(ours.gateway)
        for _ in range(arguments.rounds):
            for name, port in ports.items():
                samples[name]["down_mb_per_second"].append(size / download(port, size) / 1e6)
                samples[name]["up_mb_per_second"].append(size / upload(port, size) / 1e6)
        peak = _rss_mb(ours.gateway, "VmHWM")
        slow = {name: read_slowly(port) for name, port in ports.items()}
        delays = {n: event_delays(port) for n, port in ports.items() if n not in NO_EVENTS}
        settled = _rss_mb(ours.gateway, "VmHWM")
        large = {
            "client": _growth(ours.gateway, lambda: download(ours.port, size, slowly=True)),
            "tenant": _growth(ours.gateway, lambda: upload(ours.port, size, "/sip")),
        }
    figures: dict[str, dict[str, Any]] = {}
    for name, both in samples.items():
        figures[name] = {key: median(values) for key, values in both.items()}
        figures[name]["slow_reader_seconds"] = slow[name]
        figures[name].update(_quantiles(delays[name]) if name in delays else {})
    result = {
        "megabytes": arguments.megabytes,
        "rounds": arguments.rounds,
        "figures": figures,
        "gateway_rss_mb": {"before": before, "peak": peak, "peak_with_slow_reader": settled},
        "slow_large": large,
        "slow_reader_asked_seconds": SLOW_BYTES / SLOW_PIECE * SLOW_SECONDS,
        "skipped": skipped,
        "samples": samples,
    }
    if not arguments.json:
        _print(result)
    return result


def download(port: int, size: int, *, slowly: bool = False) -> float:
    """Read a body of ``size`` bytes, with or without pauses; the seconds it took."""
    with _asked(port, f"GET /down?{size}", b"") as sock:
        begun = time.perf_counter()
        left = size - len(_head(sock))
        buffer = memoryview(bytearray(BUFFER))
        while left > 0:
            got = sock.recv_into(buffer)
            if not got:
                raise RuntimeError(f"the download ended {left} bytes early")
            left -= got
            if slowly:
                time.sleep(SLOW_LARGE_SECONDS * got / SLOW_LARGE_PIECE)
        return time.perf_counter() - begun


def upload(port: int, size: int, path: str = "/up") -> float:
    """Send a body of ``size`` bytes, which must all be counted; the seconds it took."""
    with _asked(port, f"POST {path}", b"Content-Length: %d\r\n" % size) as sock:
        begun = time.perf_counter()
        piece = bytes(BUFFER)
        for left in range(size, 0, -BUFFER):
            sock.sendall(piece[:left])
        body = _head(sock)
        while str(size).encode() not in body:
            more = sock.recv(BUFFER)
            if not more:
                raise RuntimeError(f"the upload was answered with {body!r}")
            body += more
        return time.perf_counter() - begun


def read_slowly(port: int) -> float:
    """Take a body of 8 MiB a piece at a time; the seconds until its end."""
    with _asked(port, f"GET /down?{SLOW_BYTES}", b"") as sock:
        begun = time.perf_counter()
        left = SLOW_BYTES - len(_head(sock))
        while left > 0:
            piece = sock.recv(min(SLOW_PIECE, left), socket.MSG_WAITALL)
            if not piece:
                raise RuntimeError(f"the slow download ended {left} bytes early")
            left -= len(piece)
            time.sleep(SLOW_SECONDS)
        return time.perf_counter() - begun


def event_delays(port: int) -> list[float]:
    """From the moment that each server-sent event carries to its arrival, milliseconds."""
    delays: list[float] = []
    with _asked(port, f"GET /events?{EVENTS}", b"") as sock:
        text = _head(sock)
        while len(delays) < EVENTS:
            *lines, text = text.split(b"\n")
            now = time.time()
            sent = [float(line[6:]) for line in lines if line.startswith(b"data: ")]
            delays += [(now - moment) * 1000 for moment in sent]
            if len(delays) < EVENTS:
                more = sock.recv(BUFFER)
                if not more:
                    raise RuntimeError(f"events ended after {len(delays)}")
                text += more
    return delays


@contextlib.contextmanager
def _asked(port: int, line: str, fields: bytes) -> Any:
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"%b HTTP/1.1\r\nHost: %b\r\n%bConnection: close\r\n\r\n"
        sock.sendall(head % (line.encode(), HOST.encode(), fields))
        yield sock


def _head(sock: socket.socket) -> bytes:
    """Read the head of an answer that went well; what came of the body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(BUFFER)
        if not more:
            raise RuntimeError(f"no answer: {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        raise RuntimeError(head.decode("latin-1"))
    return rest


def _quantiles(delays: list[float]) -> dict[str, float]:
    ordered = sorted(delays)
    return {
        "event_p50_ms": ordered[len(ordered) // 2],
        "event_p99_ms": ordered[int(len(ordered) * 0.99)],
    }


def _rss_mb(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def _growth(pid: int, work: Callable[[], float]) -> dict[str, float]:
    """The seconds that work took, and what a process held at most beyond what it held before."""
    _forget_peak(pid)
    before = _rss_mb(pid, "VmRSS")
    seconds = work()
    return {"seconds": seconds, "growth_mb": _rss_mb(pid, "VmHWM") - before}


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _print(result: dict[str, Any]) -> None:
    print(f"{result['megabytes']} MB, medians of {result['rounds']} rounds")
    heads = ("down MB/s", "up MB/s", "slow, s", "event p50 ms", "p99 ms")
    print(f"{'':18}" + "".join(f"{head:>14}" for head in heads))
    for name, figure in result["figures"].items():
        print(f"{name:18}" + "".join(f"{value:14.3g}" for value in figure.values()))
    print(f"gateway, MB: {result['gateway_rss_mb']}; slow ends: {result['slow_large']}")
