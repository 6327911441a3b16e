"""What an idle instance costs in memory: pages that it shares with no other process."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

from benchmarks.servers import HELLO, Node, node
from tests.support.served import descendants

SCRIPTS = 40
FASTAPI = """\
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
async def root():
    return {"hello": "world"}
"""
KIND = ("hello", "fastapi")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Deploy, ask each once, and read smaps_rollup of every process that came with it."""
    figures: dict[str, object] = {"scripts": SCRIPTS}
    for kind, source in zip(KIND, (HELLO, FASTAPI), strict=True):
        with node() as ours:
            spares = _instances(ours)
            for number in range(SCRIPTS):
                ours.deploy(f"{kind}{number}", source)
            _ask(ours, kind)
            found = sorted(_instances(ours) - spares)
            unique = [_unique_mb(pid) for pid in found]
            where = _where_mb(found[len(found) // 2])
        figures[f"{kind}_processes"] = len(found)
        figures[f"{kind}_unique_mb_p50"] = median(unique)
        figures[f"{kind}_unique_mb_max"] = max(unique)
        figures[f"{kind}_where_mb"] = where
    if not arguments.json:
        for key, value in figures.items():
            print(f"{key}: {value}")
    return figures


def _ask(ours: Node, kind: str) -> None:
    for number in range(SCRIPTS):
        headers = {"Host": f"{kind}{number}.localhost"}
        answer = ours.client.get(f"http://127.0.0.1:{ours.port}/", headers=headers)
        answer.raise_for_status()


def _instances(ours: Node) -> set[int]:
    """The processes that are jailed: below the zygote, which is below its keeper."""
    return {pid for pid in descendants(ours.pid) if _depth(pid) > _ZYGOTES_DEPTH}


_ZYGOTES_DEPTH = 2


def _depth(pid: int) -> int:
    """How many pid namespaces a process is in, ours included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return len(line.split()) - 1
    return 0


def _unique_mb(pid: int) -> float:
    """Private pages of a process, MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(private) / 1024


def _where_mb(pid: int) -> dict[str, float]:
    """Private pages of a process by what they hold, and its page tables, MiB."""
    found = dict.fromkeys(("objects", "large objects", "the interpreter's data", "the rest"), 0.0)
    kind = "the rest"
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            kind = _holds(words[5] if len(words) > 5 else "")
        elif words[0].startswith("Private_") and words[0] != "Private_Hugetlb:":
            found[kind] += int(words[1]) / 1024
    status = Path(f"/proc/{pid}/status").read_text()
    tables = next(line for line in status.splitlines() if line.startswith("VmPTE:"))
    return {**found, "page tables, beside": int(tables.split()[1]) / 1024}


def _holds(mapped: str) -> str:
    if not mapped:
        return "objects"
    if mapped == "[heap]":
        return "large objects"
    return "the interpreter's data" if "python" in Path(mapped).name else "the rest"
