"""Every hostile worker of the isolation tests beside honest visitors, who must not notice.

``--rung root|user|alone|root-alone|all`` says on which of the hosts that can be made of this one:
as root, as an ordinary user with user namespaces, and without namespaces as either. ``--only c,k1``
takes the attacks whose names begin so; WAYPOST_ABUSE_DIR adds those of a directory, which every
user must be able to read. An attack is sent again and again for ``--seconds``, and until the
visitors have seen a thousand answers; before each, as long a look is taken when nobody attacks.
Writes figures and a table of each rung; ``python -m benchmarks report`` takes them into
docs/attacks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks.honest import TENANTS, Seen, Visitors
from benchmarks.machine import describe
from sandbox import examine_host, host_level
from sandbox.ladder import LANDLOCK
from tests.isolation import barriers, hosts
from tests.isolation.arena import HELLO, HOSTILE, Arena, name_outcome, open_arena
from tests.isolation.casebook import Case, read_cases
from tests.isolation.seen import RATIO

HOSTS = {"root": "", "user": "user", "alone": "user-alone", "root-alone": "root-alone"}
"""The rungs, and what makes such a host of this one."""
SECONDS = 1.2
SAMPLES = 1000
"""What a 99th percentile takes."""
PACE_SECONDS = 0.004
"""Between two requests of an honest tenant."""
SETTLE_SECONDS = 0.1
"""Between what an attack left to be done and the next look."""
MOST_WINDOWS = 4
"""An attack, or a look, is repeated so often for the samples' sake."""
NEAR = 2
"""So many looks before an attack, and as many after it, say what is quiet."""
BAR = 24
LINE = 106
_HEADS = f"{'attack':28} {'stopped by':32} {'outcome':22} times  p99 ms  ratio"
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
    return {"rungs": {rung: _keep(rung, arguments) for rung in rungs}}


def _keep(rung: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Try one rung and write down what came of it, before the next is begun."""
    found = {"machine": describe(), "only": arguments.only, "rung": rung}
    found |= _on(rung, arguments.only, arguments.seconds)
    results = Path("benchmarks/results")
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"abuse-{rung}-{time.strftime('%Y%m%d-%H%M%S')}"
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    path.with_suffix(".md").write_text(_table(rung, found))
    print(f"\r{'':{LINE}}\r{path}.md: {_summary(found)}")
    return found


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
        with _Trial(arena, level, seconds) as trial:
            rows = trial.rows(cases)
    return {
        "level": level,
        "attacks": rows,
        "quiet_p99_ms": trial.quiet_ms,
        # Else others used the machine meanwhile, and the ratios say little.
        "machine_was_quiet": _nearly_equal(trial.quiet_ms),
        "honest_requests": sum(row["requests"] for row in rows),
        "errors_when_quiet": len(trial.errors),
        "honest_errors": [*trial.errors, *(error for row in rows for error in row["errors"])],
        "over_the_ratio": [row["id"] for row in rows if row["ratio"] >= RATIO],
        "not_acceptable": [row["id"] for row in rows if not row["acceptable"]],
    }


def _nearly_equal(looks_ms: Sequence[float]) -> bool:
    """All but one in twenty of them are less than twice the middle one."""
    ordered = sorted(looks_ms)
    return ordered[len(ordered) * 19 // 20] < 2 * median(ordered)


class _Trial:
    """Attacks one node, and has the honest visitors watched meanwhile and in between."""

    def __init__(self, arena: Arena, level: str, seconds: float) -> None:
        self._arena = arena
        self._level = level
        self._seconds = seconds
        self._visitors = Visitors(urlsplit(arena.url).port or 80, PACE_SECONDS)
        self.quiet_ms: list[float] = []
        self.errors: list[str] = []
        """Seen when nobody attacked."""

    def __enter__(self) -> _Trial:
        for _ in range(NEAR):
            self._look()
        print(_HEADS)
        return self

    def __exit__(self, *_: object) -> None:
        self._visitors.stop()

    def rows(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """What came of each; who had the visitors wait is tried once more at the end."""
        rows = self._try_all(cases)
        late = {row["id"]: row for row in rows if row["ratio"] >= RATIO}
        if late:
            print(f"{'':{LINE}}\nonce more")
        for again in self._try_all([case for case in cases if case.id in late]):
            late[again["id"]] = _both(late[again["id"]], again)
        return [late.get(row["id"], row) for row in rows]

    def _try_all(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        found: list[tuple[int, dict[str, Any]]] = []
        begun = time.monotonic()
        for number, case in enumerate(cases):
            self._look()
            row = self._row(case)
            found.append((len(self.quiet_ms), row))
            _show_progress(number + 1, len(cases), time.monotonic() - begun)
        for _ in range(NEAR if cases else 0):
            self._look()
        return [self._compare(row, place) for place, row in found]

    def _compare(self, row: dict[str, Any], place: int) -> dict[str, Any]:
        """Compare it with the looks around it, those after it included."""
        quiet_ms = median(self.quiet_ms[max(0, place - NEAR) : place + NEAR])
        return row | {"quiet_p99_ms": quiet_ms, "ratio": row["p99_ms"] / quiet_ms}

    def _look(self) -> None:
        time.sleep(SETTLE_SECONDS)
        self._visitors.cut()
        seen = Seen([], [])
        for _ in range(MOST_WINDOWS):
            time.sleep(self._seconds)
            seen = _add(seen, self._visitors.cut())
            if len(seen.samples_ms) >= SAMPLES:
                break
        self.quiet_ms.append(seen.p99_ms)
        self.errors += seen.errors

    def _row(self, case: Case) -> dict[str, Any]:
        outcomes: set[str] = set()
        times, seen = 0, Seen([], [])
        for _ in range(MOST_WINDOWS):
            more, count = _attack(self._arena, case, self._seconds)
            outcomes, times = outcomes | set(more), times + count
            seen = _add(seen, self._visitors.cut())
            if len(seen.samples_ms) >= SAMPLES:
                break
        row = self._judge(case, sorted(outcomes), times, seen)
        line = f"{case.id:28} {row['barrier']:32} {','.join(row['outcomes']):22} {times:5}"
        line += f" {seen.p99_ms:7.2f} {row['ratio']:6.2f} {seen.errors[:2] or ''}"
        print(f"\r{line:{LINE}}", flush=True)
        return row

    def _judge(self, case: Case, outcomes: list[str], times: int, seen: Seen) -> dict[str, Any]:
        acceptable = case.acceptable | {"refused"}
        if case.needs_scratch and self._level == LANDLOCK:
            acceptable |= {"error"}
        worst = next((name for name in outcomes if name not in acceptable), outcomes[0])
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
            "ratio": seen.p99_ms / median(self.quiet_ms[-NEAR:]),
            "errors": seen.errors,
        }


def _add(first: Seen, second: Seen) -> Seen:
    return Seen(first.samples_ms + second.samples_ms, first.errors + second.errors)


def _show_progress(done: int, of: int, seconds: float) -> None:
    left = seconds / done * (of - done)
    bar = "#" * (BAR * done // of)
    print(f"[{bar:{BAR}}] {done}/{of}, {left // 60:.0f}:{left % 60:02.0f} left", end="\r")


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
