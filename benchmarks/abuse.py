"""Every hostile worker of the isolation tests beside honest visitors, who must not notice.

``--only c,k1`` takes the attacks whose names begin so; WAYPOST_ABUSE_DIR adds those of a directory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.honest import TENANTS, Visitors, watch
from sandbox import examine_host, host_level
from tests.isolation.arena import HELLO, HOSTILE, Arena, Seen, name_outcome, open_arena
from tests.isolation.casebook import Case, read_cases

RATIO = 3.0
"""The honest visitors' p99 under attack may be so many times the quiet one."""
QUIET_SECONDS = 4.0
BY_OUTCOME = {
    "killed_cpu": "CPU watchdog",
    "killed_mem": "memory limit",
    "killed_wall": "wall timer",
    "protocol_error": "wire protocol",
    "bad_response": "edge: answers",
    "response_sent": "edge: answers",
    "refused": "start-up limits",
}
BY_KIND = {
    "p": "seccomp, pid namespace",
    "c": "own process",
    "m": "memory limit",
    "f": "mount tree, Landlock",
    "n": "seccomp, network namespace",
    "k": "seccomp",
    "i": "wire protocol",
    "r": "edge: answers",
    "s": "own process, clean zygote",
}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """``--seconds`` of each attack, again and again, one after the other."""
    level = host_level(examine_host())
    only = tuple(filter(None, arguments.only.split(",")))
    cases = [case for case in read_cases() if case.id.startswith(only or ("",))]
    with tempfile.TemporaryDirectory() as folder, open_arena(Path(folder), cases, level) as arena:
        for number in range(TENANTS):
            name = f"honest-{number}"
            arena.deploy(name, HELLO.format(f"this is {name}")).raise_for_status()
        arena.set_plan("honest", "free")
        port = urlsplit(arena.url).port or 80
        watch(port, 0.5)
        before = watch(port, QUIET_SECONDS)
        rows = list(_attack_all(arena, port, cases, arguments.seconds, before.p99_ms))
        after = watch(port, QUIET_SECONDS)
    quiet = sorted((before.p99_ms, after.p99_ms))
    figures: dict[str, object] = {
        "attacks": rows,
        "quiet_p99_ms": [before.p99_ms, after.p99_ms],
        "honest_requests": sum(int(str(row["requests"])) for row in rows),
        "honest_errors": [error for row in rows for error in _errors(row)],
        "over_the_ratio": [row["id"] for row in rows if float(str(row["ratio"])) >= RATIO],
        # Else others used the machine meanwhile, and the ratios say little.
        "machine_was_quiet": quiet[1] < 1.5 * quiet[0],
        "not_acceptable": [row["id"] for row in rows if not row["acceptable"]],
    }
    print({name: value for name, value in figures.items() if name != "attacks"})
    return figures


def _errors(row: dict[str, object]) -> list[object]:
    errors = row["errors"]
    assert isinstance(errors, list)
    return errors


def _attack_all(
    arena: Arena, port: int, cases: list[Case], seconds: float, quiet_ms: float
) -> Iterator[dict[str, object]]:
    print(f"{'attack':24} {'barrier':28} {'outcome':22} {'times':>5} {'p99 ms':>7} {'ratio':>6}")
    for case in cases:
        visitors = Visitors(port)
        try:
            outcomes, times = _attack(arena, case, seconds)
        finally:
            seen = visitors.stop()
        worst = next((name for name in outcomes if name not in case.acceptable), outcomes[0])
        barrier = BY_OUTCOME.get(worst) or BY_KIND.get(case.id[0], "?")
        ratio = seen.p99_ms / quiet_ms
        print(
            f"{case.id:24} {barrier:28} {','.join(outcomes):22} {times:5}"
            f" {seen.p99_ms:7.2f} {ratio:6.2f}{' ' + str(seen.errors[:2]) if seen.errors else ''}",
            flush=True,
        )
        yield {
            "id": case.id,
            "barrier": barrier,
            "outcomes": outcomes,
            "acceptable": set(outcomes) <= case.acceptable | {"refused"},
            "times": times,
            "requests": len(seen.samples_ms),
            "p50_ms": seen.p50_ms,
            "p99_ms": seen.p99_ms,
            "ratio": ratio,
            "errors": seen.errors,
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
            seen: list[Seen] = []
            if deployed.status_code == 200:
                seen = arena.attack(name, case)
            else:
                deployed = arena.deploy(name, case.source)
            outcomes |= {name_outcome(one) for one in seen} or {"refused"}
            times += max(1, len(seen))
    finally:
        arena.remove(name)
    return sorted(outcomes), times
