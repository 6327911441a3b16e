"""Where the time of a warm request goes.

CPU time of the gateway and of the instance from the kernel's account, beside a bare server's in
the same minute; and within the gateway by room, from samples of py-spy where that is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.load import measure
from benchmarks.servers import HELLO, below, free_port, node, running, uvicorn_command

TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
SAMPLES_A_SECOND = 400
ROOMS = (
    ("gateway/edge/", "edge: the connection, heads, answers"),
    ("uvicorn/", "uvicorn: the server under the edge"),
    ("gateway/dispatch", "dispatch: the corridor"),
    ("gateway/routing/", "routing: hostname to script"),
    ("gateway/admission/", "admission: the permit"),
    ("gateway/pool/", "pool: the instance and its wire"),
    ("sandbox/protocol", "wire: frames and their codec"),
    ("sandbox/payloads", "wire: frames and their codec"),
    ("sandbox/supervisor/", "watchdog: CPU clocks and timers"),
    ("gateway/telemetry/", "telemetry: metrics, access log, tail"),
    ("gateway/bindings/", "bindings: hops"),
)
ELSE = "event loop and system calls"


@dataclass
class Spent:
    """CPU time of a process, microseconds."""

    user: float
    system: float

    def per(self, earlier: Spent, requests: float) -> dict[str, float]:
        """What was spent since, for each request."""
        user, system = self.user - earlier.user, self.system - earlier.system
        return {"user_us": user / requests, "system_us": system / requests}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Take turns between ours and the bare server, then sample ours."""
    rows: dict[str, list[dict[str, float]]] = {"gateway": [], "instance": [], "bare uvicorn": []}
    port = free_port()
    bare = [*uvicorn_command("hello"), "--port", str(port)]
    with node() as ours, running(bare, port) as other:
        ours.plan("hello", "enterprise")
        ours.deploy("hello", HELLO)
        for number in range(arguments.rounds + 1):
            # The instances of the round before may have been replaced: look again.
            _load(ours.port, arguments, 1)
            instances = below(ours.gateway)
            found = _round(ours.port, {"gateway": [ours.gateway], "instance": instances}, arguments)
            found |= _round(port, {"bare uvicorn": [other]}, arguments)
            for name, row in found.items() if number else ():
                rows[name].append(row)
        rooms = _sampled(ours.gateway, ours.port, arguments)
    figures = {
        name: {key: median(row[key] for row in all_) for key in all_[0]}
        for name, all_ in rows.items()
    }
    result: dict[str, object] = {
        "connections": arguments.connections,
        "rounds": arguments.rounds,
        "figures": figures,
        "samples": rows,
    }
    whole = sum(figures["gateway"].values())
    if rooms is None:
        result["skipped"] = {"by room": "py-spy is not installed"}
    else:
        total = sum(rooms.values())
        result["by_room_us"] = {room: whole * n / total for room, n in rooms.most_common()}
    if not arguments.json:
        _print(result)
    return result


def _load(port: int, arguments: argparse.Namespace, seconds: float) -> float:
    """The requests that were answered."""
    load = measure(
        port, "hello.localhost", connections=arguments.connections, seconds=max(1, round(seconds))
    )
    return load.requests_per_second * max(1, round(seconds))


def _round(
    port: int, processes: dict[str, list[int]], arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    before = {name: _spent(pids) for name, pids in processes.items()}
    requests = _load(port, arguments, arguments.seconds)
    return {name: _spent(pids).per(before[name], requests) for name, pids in processes.items()}


def _spent(pids: list[int]) -> Spent:
    user = system = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user, system = user + int(fields[11]), system + int(fields[12])
    return Spent(user * TICK_US, system * TICK_US)


def _sampled(pid: int, port: int, arguments: argparse.Namespace) -> Counter[str] | None:
    """Samples of the gateway's thread by room, taken under load without stopping it."""
    program = shutil.which("py-spy") or shutil.which(
        "py-spy", path=str(Path(sys.executable).parent)
    )
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "stacks"
        seconds = max(3, round(arguments.seconds))
        command = [program, "record", "--nonblocking", "-f", "raw", "-F", "-o", str(out)]
        command += ["-p", str(pid), "-d", str(seconds), "-r", str(SAMPLES_A_SECOND)]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=quiet, stderr=quiet) as sampler:
            while sampler.poll() is None:
                _load(port, arguments, 1)
        return read_stacks(out.read_text())


def read_stacks(text: str) -> Counter[str]:
    """Count samples by the room of the innermost frame that is of a room."""
    rooms: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        for frame in reversed(stack.split(";")):
            room = next((name for path, name in ROOMS if path in frame), None)
            if room is not None:
                rooms[room] += int(count)
                break
        else:
            rooms[ELSE] += int(count)
    return rooms


def _print(result: dict[str, object]) -> None:
    figures, rooms = result["figures"], result.get("by_room_us", {})
    assert isinstance(figures, dict)
    assert isinstance(rooms, dict)
    print(f"µs of CPU for each request, {result['connections']} connections")
    for name, row in figures.items():
        print(f"{name:40} user {row['user_us']:6.1f}  system {row['system_us']:6.1f}")
    for name, micros in rooms.items():
        print(f"{name:40} {micros:11.1f}")
