"""``python -m benchmarks SCENARIO``: run one scenario and print its table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import (
    abuse,
    cold,
    density,
    leaks,
    limits,
    noisy,
    report,
    routes,
    spawn,
    spent,
    storm,
    stream,
    suite,
    tenants,
    warm,
)
from benchmarks.machine import describe
from tests.isolation import barriers, seen

SCENARIOS = {
    "abuse": abuse.run,
    "warm": warm.run,
    "cold": cold.run,
    "density": density.run,
    "leaks": leaks.run,
    "limits": limits.run,
    "noisy": noisy.run,
    "routes": routes.run,
    "spawn": spawn.run,
    "spent": spent.run,
    "storm": storm.run,
    "stream": stream.run,
    "tenants": tenants.run,
}


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Scenarios: abuse (hostile workers beside honest visitors), warm (requests/s "
        "beside its peers), cold (first request to a "
        "never-run script), density (memory of an idle instance), noisy (beside who burns "
        "every instance it may have), limits (CPU overshoot), routes (up to a million hostnames), "
        "tenants (1, 100, 1000 in turn; then many, one hostile), spawn (an instance with every "
        "barrier, beside bwrap and nsjail), leaks (what a great many spawns leave behind), "
        "storm (random hostile frames from eight instances), stream (large bodies, slow readers, "
        "events), spent (where the CPU time of a warm request goes); all (every one of "
        "docs/performance.md, then the page), report (the pages from the newest results).",
    )
    parser.add_argument("scenario", choices=[*sorted(SCENARIOS), "all", "report"])
    parser.add_argument("--quick", action="store_true", help="all: in less than 10 minutes")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument(
        "--seconds", type=float, help=f"length of a round (default 3; abuse: {abuse.SECONDS})"
    )
    parser.add_argument("--connections", type=int, default=32, help="open connections (default 32)")
    parser.add_argument("--megabytes", type=int, default=1000, help="stream: of a body (1000)")
    parser.add_argument("--only", default="", help="abuse: begin of the attacks' names, by comma")
    parser.add_argument("--rung", default="root", choices=[*abuse.HOSTS, "all"], help="abuse: host")
    parser.add_argument("--spawns", type=int, default=10_000, help="leaks: how many (10000)")
    parser.add_argument("--json", action="store_true", help="print the raw figures instead")
    arguments = parser.parse_args()
    if arguments.scenario == "all":
        return suite.run(SCENARIOS, quick=arguments.quick)
    if arguments.scenario == "report":
        print(*report.collect(), *seen.take(report.RESULTS), sep="\n")
        report.write()
        barriers.PAGE.write_text(barriers.write_page())
        return 0
    if arguments.seconds is None:
        arguments.seconds = abuse.SECONDS if arguments.scenario == "abuse" else 3.0
    figures = {"machine": describe(), "scenario": arguments.scenario}
    figures.update(SCENARIOS[arguments.scenario](arguments))
    results = Path("benchmarks/results")
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{arguments.scenario}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"\nraw figures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
