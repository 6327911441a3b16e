"""A great many spawns, and what they leave behind: descriptors, processes, memory, cgroups."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path

from sandbox import SandboxSpec, Supervisor, SupervisorSettings

AT_ONCE = 4
REPORTS = 10


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Spawn and kill ``--spawns`` instances."""
    return asyncio.run(_run(arguments.spawns, quiet=arguments.json))


async def _run(spawns: int, *, quiet: bool) -> dict[str, object]:
    supervisor = Supervisor(SupervisorSettings())
    await supervisor.start()
    await asyncio.gather(*(_one(supervisor) for _ in range(2 * AT_ONCE)))
    begun = time.monotonic()
    rows = [{"spawns": 0, "seconds": 0.0, **_left(os.getpid())}]
    if not quiet:
        print(rows[0], flush=True)
    try:
        for _ in range(REPORTS):
            await asyncio.gather(
                *(_many(supervisor, spawns // REPORTS // AT_ONCE) for _ in range(AT_ONCE))
            )
            done = rows[-1]["spawns"] + spawns // REPORTS // AT_ONCE * AT_ONCE
            seconds = round(time.monotonic() - begun, 1)
            rows.append({"spawns": done, "seconds": seconds, **_left(os.getpid())})
            if not quiet:
                print(rows[-1], flush=True)
    finally:
        await supervisor.close()
    return {"rows": rows}


async def _many(supervisor: Supervisor, count: int) -> None:
    for _ in range(count):
        await _one(supervisor)


async def _one(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    sandbox.close()
    await sandbox.exited


def _left(pid: int) -> dict[str, float]:
    """What this process and the zygote hold now."""
    processes = [pid, *_below(pid)]
    return {
        "processes": len(processes),
        "zombies": sum(" Z " in _stat(each) for each in processes),
        "descriptors": sum(len(os.listdir(f"/proc/{each}/fd")) for each in processes),
        "rss_mib": round(sum(_rss(each) for each in processes) / 2**20, 1),
        "machine_cgroups": sum(
            int(line.split()[2])
            for line in Path("/proc/cgroups").read_text().splitlines()[1:]
            if line.startswith("memory")
        ),
    }


def _below(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    return children + [below for child in children for below in _below(child)]


def _stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text()


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
