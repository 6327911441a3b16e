"""An instance from order to ready, with every barrier, beside jails that start the same Python.

Ours: order to verified, with HELLO said and interpreter, event loop and codec loaded. The others:
exec to the first line of a program that imports the same, since a jailed Python that has imported
nothing is no use to anybody; and around ``/bin/true``, for the jail alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from sandbox import SandboxSpec, Supervisor, SupervisorSettings

SPAWNS_A_ROUND = 40
ORDINARY_USER = 12345
PROGRAM = (
    f"import sys; sys.path.append({str(Path(msgspec.__file__).parent.parent)!r});"
    " import asyncio, inspect, json, logging, msgspec; print('ready', flush=True)"
)
PYTHON = [sys.executable, "-I", "-c", PROGRAM]
TRUE = ["/bin/true"]
BWRAP = [
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    *("--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/var/tmp"),  # noqa: S108 - inside
]
NSJAIL = [
    *("nsjail", "-Mo", "-Q", "--chroot", "/", "--user", "65534", "--group", "65534"),
    *("--disable_proc", "--rlimit_as", "inf", "--"),
]


async def measure(count: int) -> dict[str, object]:
    """Spawn one after the other; milliseconds of each."""
    supervisor = Supervisor(SupervisorSettings())
    await supervisor.start()
    samples = []
    try:
        for _ in range(count):
            begun = time.perf_counter()
            sandbox = await supervisor.spawn(SandboxSpec())
            samples.append((time.perf_counter() - begun) * 1000)
            sandbox.close()
            await sandbox.exited
    finally:
        await supervisor.close()
    return {"samples": samples, "level": supervisor.level, "cgroups": supervisor.cgroups}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Take turns between all of them, so that each meets the same machine."""
    skipped: dict[str, str] = {}
    samples: dict[str, list[float]] = {}
    words: dict[str, str] = {}
    for _ in range(arguments.rounds):
        for name, user in _users():
            try:
                said = _ours(user)
            except (OSError, RuntimeError) as error:
                skipped[name] = _reason(error)
                continue
            samples.setdefault(name, []).extend(said["samples"])
            words[name] = f"level {said['level']}, cgroups {said['cgroups']}"
        for name, command in _peers(skipped):
            samples.setdefault(name, []).extend(_command(command) for _ in range(10))
    figures = {name: _summary(values) for name, values in samples.items()}
    if not arguments.json:
        for name, figure in figures.items():
            print(
                f"{name:32} p50 {figure['p50_ms']:7.1f} ms  p90 {figure['p90_ms']:7.1f} ms"
                f"  n={figure['count']:.0f}  {words.get(name, '')}"
            )
        for name, why in skipped.items():
            print(f"{name:32} skipped: {why}")
    return {"figures": figures, "words": words, "skipped": skipped}


def _users() -> list[tuple[str, int | None]]:
    if os.geteuid() != 0:
        return [("waypost, ordinary user", None)]
    return [("waypost, root", None), ("waypost, ordinary user", ORDINARY_USER)]


def _reason(error: OSError | RuntimeError) -> str:
    """Why something was skipped, without names that mean something on this machine only."""
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def _ours(user: int | None) -> dict[str, list[float]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.spawn", str(SPAWNS_A_ROUND)],
        capture_output=True,
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
        timeout=120,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"status {done.returncode}")
    said: dict[str, list[float]] = json.loads(done.stdout)
    return said


def _peers(skipped: dict[str, str]) -> list[tuple[str, list[str]]]:
    peers = [("the same Python, no jail", PYTHON)]
    for name, jail in (("bwrap", BWRAP), ("nsjail", NSJAIL)):
        if shutil.which(name) is None:
            skipped[name] = "not installed"
            continue
        try:
            _command([*jail, *PYTHON])
        except (OSError, RuntimeError) as error:
            skipped[name] = _reason(error)
            continue
        peers += [
            (f"{name}, the same Python", [*jail, *PYTHON]),
            (f"{name}, /bin/true", [*jail, *TRUE]),
        ]
    return peers


def _command(command: list[str]) -> float:
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        took = (time.perf_counter() - begun) * 1000
        complaint = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(complaint.splitlines()[-1] if complaint else f"{process.returncode}")
    return took


def _summary(samples: list[float]) -> dict[str, float]:
    ordered = sorted(samples)
    return {
        "count": len(ordered),
        "p50_ms": ordered[len(ordered) // 2],
        "p90_ms": ordered[int(len(ordered) * 0.9)],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
