"""Every hostile worker of the isolation tests beside honest visitors, who must not notice.

``--rung root|user|alone|root-alone|all`` says on which of the hosts that can be made of this one:
as root, as an ordinary user with user namespaces, and without namespaces as either. ``--only c,k1``
takes the attacks whose names begin so; WAYPOST_ABUSE_DIR adds those of a directory, which every
user must be able to read. Writes a table of each rung beside the raw figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks.honest import TENANTS, Seen, Visitors, watch
from sandbox import examine_host, host_level
from sandbox.ladder import LANDLOCK
from tests.isolation import barriers, hosts
from tests.isolation.arena import HELLO, HOSTILE, Arena, name_outcome, open_arena
from tests.isolation.casebook import Case, read_cases

HOSTS = {"root": "", "user": "user", "alone": "user-alone", "root-alone": "root-alone"}
"""The rungs, and what makes such a host of this one."""
RATIO = 3.0
"""The honest visitors' p99 under attack may be so many times the quiet one."""
QUIET_SECONDS = 3.0
QUIET_EACH = 20
"""Attacks between two looks at what the visitors see when nobody attacks."""
_COLUMNS: tuple[str, ...] = (
    "attack",
    "what it tries",
    "stopped by",
    "to end as",
    "ended as",
    "times",
)
_COLUMNS += ("honest requests", "errors", "p99 quiet, ms", "p99 attacked, ms", "ratio")


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """``--seconds`` of each attack, again and again, one after the other."""
    rungs = list(HOSTS) if arguments.rung == "all" else [arguments.rung]
    figures = {rung: _on(rung, arguments.only, arguments.seconds) for rung in rungs}
    results = Path("benchmarks/results")
    results.mkdir(parents=True, exist_ok=True)
    for rung, found in figures.items():
        path = results / f"abuse-{rung}-{time.strftime('%Y%m%d-%H%M%S')}.md"
        path.write_text(_table(rung, found))
        print(f"{path}: {_summary(found)}")
    return {"rungs": figures}


def _on(rung: str, only: str, seconds: float) -> dict[str, Any]:
    """Try them there; as another user in a process that has given up what that one has not."""
    print(f"\n{rung}")
    if rung == "root":
        return attack(only, seconds)
    with tempfile.TemporaryDirectory() as shared:
        if rung != "root-alone":
            os.chown(shared, hosts.UID, hosts.UID)
        out = Path(shared, "figures.json")
        command = [sys.executable, "-m", "tests.isolation.hosts", HOSTS[rung], sys.executable]
        command += ["-m", "benchmarks.abuse", str(out), only, str(seconds)]
        root = str(hosts.ROOT)
        clean = {"PATH": os.defpath, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
        abuse = {k: v for k, v in os.environ.items() if k == "WAYPOST_ABUSE_DIR"}
        # Below a directory of the other user's, since the node writes there.
        subprocess.run(command, cwd=root, env={**clean, **abuse, "TMPDIR": shared}, check=True)
        figures: dict[str, Any] = json.loads(out.read_text())
    return figures


def attack(only: str, seconds: float) -> dict[str, Any]:
    """Send the attacks to a node of this host and this user."""
    level = host_level(examine_host())
    chosen = tuple(filter(None, only.split(","))) or ("",)
    cases = [case for case in read_cases() if case.id.startswith(chosen)]
    with tempfile.TemporaryDirectory() as folder, open_arena(Path(folder), cases, level) as arena:
        for number in range(TENANTS):
            name = f"honest-{number}"
            arena.deploy(name, HELLO.format(f"this is {name}")).raise_for_status()
        arena.set_plan("honest", "free")
        trial = _Trial(arena, level, seconds)
        rows = list(trial.rows(cases))
    return {
        "level": level,
        "attacks": rows,
        "quiet_p99_ms": trial.quiet_ms,
        # Else others used the machine meanwhile, and the ratios say little.
        "machine_was_quiet": max(trial.quiet_ms) < 1.5 * min(trial.quiet_ms),
        "honest_requests": sum(row["requests"] for row in rows),
        "honest_errors": [error for row in rows for error in row["errors"]],
        "over_the_ratio": [row["id"] for row in rows if row["ratio"] >= RATIO],
        "not_acceptable": [row["id"] for row in rows if not row["acceptable"]],
    }


class _Trial:
    """Attacks one node, and has the honest visitors watched meanwhile and in between."""

    def __init__(self, arena: Arena, level: str, seconds: float) -> None:
        self._arena = arena
        self._level = level
        self._seconds = seconds
        self._port = urlsplit(arena.url).port or 80
        self.quiet_ms: list[float] = []
        watch(self._port, 0.5)

    def rows(self, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
        """What came of each; who had the visitors wait is tried once more, beside a fresh look."""
        print(f"{'attack':28} {'stopped by':32} {'outcome':22} times  p99 ms  ratio")
        for number, case in enumerate(cases):
            if number % QUIET_EACH == 0:
                self._look()
            row = self._row(case)
            if row["ratio"] >= RATIO:
                self._look()
                row = _both(row, self._row(case))
            yield row
        self._look()

    def _look(self) -> None:
        self.quiet_ms.append(watch(self._port, QUIET_SECONDS).p99_ms)

    def _row(self, case: Case) -> dict[str, Any]:
        visitors = Visitors(self._port)
        try:
            outcomes, times = _attack(self._arena, case, self._seconds)
        finally:
            seen = visitors.stop()
        row = self._judge(case, outcomes, times, seen)
        print(
            f"{case.id:28} {row['barrier']:32} {','.join(outcomes):22} {times:5}"
            f" {seen.p99_ms:7.2f} {row['ratio']:6.2f} {seen.errors[:2] or ''}",
            flush=True,
        )
        return row

    def _judge(self, case: Case, outcomes: list[str], times: int, seen: Seen) -> dict[str, Any]:
        acceptable = case.acceptable | {"refused"}
        if case.needs_scratch and self._level == LANDLOCK:
            acceptable |= {"error"}
        worst = next((name for name in outcomes if name not in acceptable), outcomes[0])
        quiet_ms = median(self.quiet_ms)
        return {
            "id": case.id,
            "title": case.title,
            "barrier": barriers.barrier(case, self._level, worst),
            "expected": sorted(case.acceptable),
            "outcomes": outcomes,
            "acceptable": set(outcomes) <= acceptable,
            "times": times,
            "requests": len(seen.samples_ms),
            "p50_ms": seen.p50_ms,
            "p99_ms": seen.p99_ms,
            "quiet_p99_ms": quiet_ms,
            "ratio": seen.p99_ms / quiet_ms,
            "errors": seen.errors,
        }


def _both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The second try's figures, and whatever went wrong in either."""
    return second | {
        "outcomes": sorted({*first["outcomes"], *second["outcomes"]}),
        "acceptable": first["acceptable"] and second["acceptable"],
        "times": first["times"] + second["times"],
        "requests": first["requests"] + second["requests"],
        "errors": first["errors"] + second["errors"],
        "first_ratio": first["ratio"],
    }


def _attack(arena: Arena, case: Case, seconds: float) -> tuple[list[str], int]:
    """Send one attack again and again; return what came of it, and how often it was sent."""
    name = arena.next_name()
    arena.set_plan(HOSTILE, case.plan)
    deadline = time.monotonic() + seconds
    outcomes: set[str] = set()
    times = 0
    try:
        deployed = arena.deploy(name, case.source)
        while not times or time.monotonic() < deadline:
            if deployed.status_code == 200:
                found = [name_outcome(one) for one in arena.attack(name, case)]
            else:
                found = ["refused"]
                deployed = arena.deploy(name, case.source)
            outcomes |= set(found)
            times += len(found)
    finally:
        arena.remove(name)
    return sorted(outcomes), times


def _summary(found: dict[str, Any]) -> str:
    return (
        f"level {found['level']}, {len(found['attacks'])} attacks,"
        f" {sum(row['times'] for row in found['attacks'])} times;"
        f" {found['honest_requests']} honest requests, {len(found['honest_errors'])} errors;"
        f" not acceptable: {', '.join(found['not_acceptable']) or 'none'};"
        f" p99 not below {RATIO:g} x quiet: {', '.join(found['over_the_ratio']) or 'none'};"
        f" quiet p99 {min(found['quiet_p99_ms']):.2f} to {max(found['quiet_p99_ms']):.2f} ms"
    )


def _table(rung: str, found: dict[str, Any]) -> str:
    lines = [
        f"# {rung}",
        "",
        _summary(found),
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["attacks"]:
        cells = [row["id"], row["title"], row["barrier"], ", ".join(row["expected"])]
        cells += [", ".join(row["outcomes"]), row["times"], row["requests"], len(row["errors"])]
        cells += [f"{row[key]:.2f}" for key in ("quiet_p99_ms", "p99_ms", "ratio")]
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(attack(sys.argv[2], float(sys.argv[3]))))
