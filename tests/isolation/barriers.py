"""Which barrier or limit of docs/security.md stops each attack, on the levels that there are.

``python -m tests.isolation.barriers`` writes docs/attacks.md from this, from the casebook and from
what was :mod:`.seen`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sandbox.ladder import LANDLOCK

from . import seen
from .casebook import OWN, Case, read_folder

PAGE: Final = Path(__file__).parents[2] / "docs" / "attacks.md"
OWN_PROCESS: Final = "Own process"
"""No row of the tables: each instance is a process of its own, whose end is named."""
_CPU: Final = "CPU of an invocation"
_CALLS: Final = "System calls"
_TREE: Final = "Mount tree"
_RESOURCES: Final = "Resource limits"
_WALL: Final = "Wall time"
BY_OUTCOME: Final = {
    "killed_cpu": _CPU,
    "killed_mem": "Memory",
    "killed_wall": _WALL,
    "protocol_error": "The wire",
    "bad_response": "The edge",
    "refused": "CPU and time of loading",
}
_BY_KIND: Final = {
    "p": _CALLS, "c": _CPU, "m": "Memory", "f": _TREE, "n": _CALLS, "k": _CALLS, "i": "The wire",
    "r": "The edge", "s": "Empty surroundings",
}  # fmt: skip
_SINGLE: Final = {
    name: barrier
    for barrier, names in {
        _CPU: "p13 p14 p32 p34 i36 i50 k34 m10 r18 r24 s16",
        OWN_PROCESS: "p15 p16 p17 p18 p20 p22 p24 p26 p28 p36 p38 p40 p42 c16 m18 m20 i05 s05 s06"
        " s12 s14",
        _RESOURCES: "p30 m06 m08 m14 m16",
        "Threads": "p03 p06",
        "CPU between invocations": "c12 c34",
        "CPU and time of loading": "c14 s09",
        _WALL: "i02 i42 r05 r07 r10",
        "Files": "m04 f05 f06",
        "Descriptors": "f01 f14",
        "Logs": "i07 i24",
        "Subrequests": "i22 s03",
        "Egress": "n10 n16",
        "A tenant's share of the way out": "n12",
        "The edge": "n14 s10",
        _TREE: "p09 s04",
        _CALLS: "c09 f11",
    }.items()
    for name in names.split()
}
_ALONE: Final = {_TREE: "Landlock", "Files": "Landlock"}
"""What there stands in the place of what namespaces give."""
_SINGLE_ALONE: Final = {
    name: barrier
    for barrier, names in {
        _WALL: "p36",
        "System calls without namespaces": "f08 k16 k32 p04 p08 p11",
        "File tree without mounts": "f12 f18 s04",
    }.items()
    for name in names.split()
}


def barrier(case: Case, level: str, outcome: str = "") -> str:
    """The one that is to stop it; where it ended in ``outcome``, the one that did."""
    if outcome in BY_OUTCOME:
        return BY_OUTCOME[outcome]
    number = case.id[:3]
    expected = _SINGLE.get(number) or _BY_KIND.get(case.id[0], OWN_PROCESS)
    if level == LANDLOCK:
        return _SINGLE_ALONE.get(number) or _ALONE.get(expected, expected)
    return expected


def write_page() -> str:
    """The table of our own attacks, as Markdown."""
    lines = [
        "# The attacks",
        "",
        "Each of these workers is sent to a real node beside a neighbour: as root, as an ordinary",
        "user with user namespaces, and as either without namespaces. It has to end as the last",
        "column says, and the neighbour must not notice. The barriers are those of",
        f"[security.md](security.md); “{OWN_PROCESS}” means that it hurts itself only and its end",
        "has a name. `python -m benchmarks abuse --rung all` tries them beside honest visitors",
        "and writes what came of each. Made by `python -m tests.isolation.barriers`.",
        "",
        "| attack | what it tries | stopped by | without namespaces | ends as |",
        "|---|---|---|---|---|",
    ]
    for case in sorted(read_folder(OWN), key=lambda case: case.id):
        by, alone = barrier(case, "full"), barrier(case, LANDLOCK)
        same = "the same" if alone == by else alone
        outcomes = ", ".join(sorted(case.acceptable))
        lines.append(f"| {case.id} | {case.title} | {by} | {same} | {outcomes} |")
    return "\n".join([*lines, *seen.lines()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(write_page())
