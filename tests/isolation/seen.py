"""What came of each attack on each rung, as ``python -m benchmarks abuse`` saw it.

``python -m benchmarks report`` takes the newest full run of each rung into docs/attacks, from which
the second table of docs/attacks.md is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from .casebook import OWN, read_folder

KEPT: Final = Path(__file__).parents[2] / "docs" / "attacks"
RUNGS: Final = {
    "root": "root",
    "user": "user",
    "alone": "user, no namespaces",
    "root-alone": "root, no namespaces",
}
"""As the benchmark calls them, and as the page does."""
RATIO: Final = 3.0
"""The honest visitors' p99 under attack is to be less than so many times the quiet one."""
_INTRODUCTION: Final = """\
## What was seen

Each attack was sent again and again beside four honest tenants with visitors of their own, until
those had seen a thousand answers; before and after it, as many were taken while nobody attacked. A
cell names what stopped the attack, how it ended and how often it was tried, and the 99th percentile
of the honest answers' times as a multiple of the quiet one. Written by
`python -m benchmarks abuse --rung all` and `python -m benchmarks report`; the figures are those of
[attacks](attacks/)."""


def take(results: Path, kept: Path = KEPT) -> list[Path]:
    """Keep the newest full run of each rung, our own attacks only; the files that were taken."""
    own = {case.id for case in read_folder(OWN)}
    taken = []
    for rung in RUNGS:
        runs = sorted(results.glob(f"abuse-{rung}-[0-9]*.json"), reverse=True)
        for path in runs:
            found = json.loads(path.read_text())
            if not found["only"]:
                kept.mkdir(parents=True, exist_ok=True)
                kept.joinpath(f"{rung}.json").write_text(_compact(found, own))
                taken.append(path)
                break
    return taken


def _compact(found: dict[str, Any], own: set[str]) -> str:
    rows = {
        row["id"]: {
            "barrier": row["barrier"],
            "outcomes": row["outcomes"],
            "acceptable": row["acceptable"],
            "times": row["times"],
            "requests": row["requests"],
            "errors": len(row["errors"]),
            "p99_ms": round(row["p99_ms"], 2),
            "quiet_p99_ms": round(row["quiet_p99_ms"], 2),
            "ratio": round(row["ratio"], 2),
        }
        for row in found["attacks"]
        if row["id"] in own
    }
    kept = {"machine": found["machine"], "level": found["level"], "attacks": rows}
    kept["errors_when_quiet"] = found["errors_when_quiet"]
    return json.dumps(kept, indent=1) + "\n"


def lines(kept: Path = KEPT) -> list[str]:
    """Both tables, as Markdown; nothing when no figures are kept."""
    found = {
        rung: json.loads(path.read_text())
        for rung in RUNGS
        if (path := kept / f"{rung}.json").exists()
    }
    if not found:
        return []
    heads = "host | level | tried | times | honest answers | errors | not as expected | p99 beyond"
    return [
        "",
        *_INTRODUCTION.splitlines(),
        "",
        f"| {heads} {RATIO:g} x quiet |",
        "|---|---|---:|---:|---:|---:|---|---|",
        *(_summary(rung, figures) for rung, figures in found.items()),
        "",
        f"| attack | {' | '.join(RUNGS[rung] for rung in found)} |",
        f"|---{'|---' * len(found)}|",
        *(_row(case.id, found) for case in sorted(read_folder(OWN), key=lambda case: case.id)),
    ]


def _summary(rung: str, figures: dict[str, Any]) -> str:
    rows: dict[str, Any] = figures["attacks"]
    errors = figures["errors_when_quiet"] + sum(row["errors"] for row in rows.values())
    cells = [RUNGS[rung], figures["level"], len(rows), sum(row["times"] for row in rows.values())]
    cells += [sum(row["requests"] for row in rows.values()), errors]
    for bad in (
        [name for name, row in rows.items() if not row["acceptable"]],
        [name for name, row in rows.items() if row["ratio"] >= RATIO],
    ):
        cells.append(", ".join(bad) or "none")
    return f"| {' | '.join(map(str, cells))} |"


def _row(name: str, found: dict[str, Any]) -> str:
    cells = [_cell(figures["attacks"].get(name)) for figures in found.values()]
    return f"| {name} | {' | '.join(cells)} |"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not tried"
    outcomes = ", ".join(row["outcomes"])
    errors = f"; {row['errors']} errors" if row["errors"] else ""
    return f"{row['barrier']}: {outcomes}, {row['times']} times; {row['ratio']:.1f}{errors}"
