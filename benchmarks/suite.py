"""Every scenario of the page of results, one after the other, and then the page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection

from benchmarks import report

QUICK = {
    "warm": "--rounds 5 --seconds 2",
    "spent": "--rounds 5 --seconds 2",
    "stream": "--rounds 5 --megabytes 300",
    "cold": "",
    "noisy": "",
    "limits": "",
    "tenants": "--rounds 5 --seconds 3",
    "density": "",
    "routes": "",
    "spawn": "--rounds 3",
}
"""Options with which all of it takes less than 10 minutes."""
LONG = QUICK | {
    "warm": "--rounds 9 --seconds 5",
    "spent": "--rounds 9 --seconds 5",
    "stream": "--rounds 7 --megabytes 1000",
    "tenants": "--seconds 60",
    "spawn": "--rounds 9",
}


def run(scenarios: Collection[str], *, quick: bool) -> int:
    """Run each in a process of its own, so that none spoils the next; how many failed."""
    failed = []
    for name, options in (QUICK if quick else LONG).items():
        if name not in scenarios:
            continue
        print(f"\n── {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", name, *options.split()]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    report.collect()
    report.write()
    print(f"\nwritten: docs/performance.md{'; failed: ' + ', '.join(failed) if failed else ''}")
    return len(failed)
