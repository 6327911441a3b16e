"""docs/performance.md, written from result files alone: each figure of the page is in one of them.

``python -m benchmarks report`` takes the newest result of each scenario into docs/performance,
then writes the page and its charts beside them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.charts import bars, number_text

RESULTS = Path("benchmarks/results")
DOCS = Path("docs")
KEPT = "performance"
OURS = "waypost"
Figures = dict[str, Any]

_INTRODUCTION = """\
# Performance

What Waypost costs beside what you would put in its place, with every limit, metric, log and
barrier on. This page is written by the benchmark: do not edit it.

```sh
benchmarks/peers.sh                # once: nginx, workerd and uWSGI to compare with
python -m benchmarks all --quick   # below 10 minutes; without --quick longer, and steadier
```

A peer that is not installed is skipped, and named. All of a table's rows were measured in one run,
taking turns; figures are medians over the rounds. The load comes from the same machine, and takes
its share of it: ratios say more than figures. The raw figures, with each round, are in
[performance](performance/)."""


def collect(results: Path = RESULTS, docs: Path = DOCS) -> list[Path]:
    """Copy the newest result of each scenario of the page; the files that were taken."""
    taken = []
    kept = docs / KEPT
    kept.mkdir(parents=True, exist_ok=True)
    for scenario in SECTIONS:
        found = sorted(results.glob(f"{scenario}-[0-9]*.json"))
        if found:
            shutil.copyfile(found[-1], kept / f"{scenario}.json")
            taken.append(found[-1])
    return taken


def write(docs: Path = DOCS) -> None:
    """Write the page and its charts from the files that are kept."""
    kept = docs / KEPT
    for chart in kept.glob("*.svg"):
        chart.unlink()
    for path, text in render(kept).items():
        docs.joinpath(path).write_text(text)


def render(kept: Path) -> dict[str, str]:
    """The page and its charts, by their paths below docs."""
    files: dict[str, str] = {}
    parts = [_INTRODUCTION]
    for scenario, section in SECTIONS.items():
        path = kept / f"{scenario}.json"
        if not path.exists():
            continue
        figures = json.loads(path.read_text())
        text, charts = section(figures)
        parts.append(f"{text}\n\n{_source(scenario, figures)}")
        files |= {f"{KEPT}/{name}.svg": chart for name, chart in charts.items()}
    return {"performance.md": "\n\n".join(parts) + "\n", **files}


def _source(scenario: str, figures: Figures) -> str:
    machine = figures["machine"]
    peers = "".join(f", {name} {version}" for name, version in machine.get("peers", {}).items())
    facts = (
        f"{machine['cpu']}, {machine['cores']} cores, kernel {machine['kernel']},"
        f" Python {machine['python']}, uvicorn {machine['uvicorn']},"
        f" uvloop {machine['uvloop']}{peers}"
    )
    text = (
        f"<sub>[{scenario}.json]({KEPT}/{scenario}.json): {facts};"
        f" load before: {machine['load_average']:.1f}.</sub>"
    )
    skipped = figures.get("skipped") or {}
    return "\n\n".join([*(f"Skipped: {name} ({why})." for name, why in skipped.items()), text])


def _table(heads: list[str], rows: list[list[object]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    lines += [[_cell(value) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return number_text(value)
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def _image(name: str, words: str) -> str:
    return f"![{words}]({KEPT}/{name}.svg)"


Section = tuple[str, dict[str, str]]


def _warm(figures: Figures) -> Section:
    rows = figures["figures"]
    keys = ("requests_per_second", "p50_ms", "p99_ms", "errors", "ratio", "one_p50_ms", "added_us")
    table = _table(
        [
            "",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "errors",
            "Waypost ÷ it",
            "1: p50 ms",
            "1: added µs",
        ],
        [[name, *(row[key] for key in keys)] for name, row in rows.items()],
    )
    title = f"Requests per second, {figures['connections']} connections"
    chart = bars(title, {name: row["requests_per_second"] for name, row in rows.items()}, OURS)
    text = f"""\
## Warm requests

An asynchronous hello of one tenant, over {figures["connections"]} kept connections; then over one,
where the 50th percentile less that of bare uvicorn is what a request costs a visitor.
{figures["rounds"]} rounds of {figures["seconds"]:g} s.

{_image("warm", title)}

{table}"""
    return text, {"warm": chart}


_FLOOR = """\
What stands in the way of more: the system's part is that of bare uvicorn, for the wire is written
and read for many requests at once. What is left is some hundred calls of Python for each request,
a fifth of a microsecond each: a head read and cleaned, a route, a slot, a lease, an account of CPU
time opened and closed, an answer, metrics and a line of the access log, which the peers do not
write. With ten modules compiled by mypyc the gateway took a tenth less; with fifteen it crashed.
Turning the event loop on for a while before it sleeps changed nothing. And on two cores gateway,
instance and load share what the bare server shares with the load alone."""


def _spent(figures: Figures) -> Section:
    rows = [
        [name, row["user_us"], row["system_us"], row["user_us"] + row["system_us"]]
        for name, row in figures["figures"].items()
    ]
    text = f"""\
## Where the microseconds go

CPU time of each warm request as the kernel accounts for it, µs,
{figures["connections"]} connections:

{_table(["process", "user", "system", "both"], [list(row) for row in rows])}

{_FLOOR}"""
    rooms = figures.get("by_room_us")
    if not rooms:
        return text, {}
    title = "The gateway's share by room, µs for each request"
    text += f"""

The gateway's by room: samples of its stack, each counted for the innermost frame that belongs to
a room; what a room's call costs inside the event loop counts for the room.

{_image("spent", title)}"""
    return text, {"spent": bars(title, rooms, "")}


def _stream(figures: Figures) -> Section:
    rows = figures["figures"]
    keys = ("down_mb_per_second", "up_mb_per_second", "slow_reader_seconds")
    keys += ("event_p50_ms", "event_p99_ms")  # type: ignore[assignment]
    heads = ["", "down MB/s", "up MB/s", "slow reader s", "event p50 ms", "event p99 ms"]
    table = _table(heads, [[name, *(row.get(key) for key in keys)] for name, row in rows.items()])
    memory = figures["gateway_rss_mb"]
    title = f"{figures['megabytes']} MB down, MB/s"
    chart = bars(title, {name: row["down_mb_per_second"] for name, row in rows.items()}, OURS)
    text = f"""\
## Streams

Bodies of {figures["megabytes"]} MB from and to an application, {figures["rounds"]} rounds. The slow
reader takes 8 MiB in pieces with pauses of {figures["slow_reader_asked_seconds"]:g} s in all.
Events: from the moment the application sends one to its arrival.

{_image("stream", title)}

{table}

The gateway held {number_text(memory["before"])} MB before, at most
{number_text(memory["peak"])} MB during the large bodies and
{number_text(memory["peak_with_slow_reader"])} MB once the slow reader was through."""
    if large := figures.get("slow_large"):
        client, tenant = large["client"], large["tenant"]
        text += f"""

{figures["megabytes"]} MB to a client that took {number_text(client["seconds"])} s over them made it
grow by {number_text(client["growth_mb"])} MB, as much from a client to a worker that took
{number_text(tenant["seconds"])} s by {number_text(tenant["growth_mb"])} MB."""
    return text, {"stream": chart}


def _cold(figures: Figures) -> Section:
    return _plain(
        "## Cold starts\n\nThe first request to a script whose version has never run on the node, "
        "as its client sees it.",
        figures,
    )


def _limits(figures: Figures) -> Section:
    return _plain(
        "## CPU limits\n\nEndless loops under a budget of 10 ms: what they got, and whether the "
        "next request was answered.",
        figures,
    )


def _tenants(figures: Figures) -> Section:
    return _plain(
        "## Many tenants\n\nRequests that go round 1, 100 and 1000 tenants, all warm, and the "
        "ratio to one tenant's; then 100 clients over 50 tenants, one of which crashes, loops and "
        "floods.\n\n"
        "What stands in the way of more: each request of a round wakes another process, of which "
        "no cache of the processor holds anything any more. A process that only echoes over a "
        "socket pair, in C, then takes five times the CPU time of one that serves again and again, "
        "a bare Python loop four to six times, and the gateway can neither write nor read for many "
        "requests at once: of an instance's time 9 µs for each request become 90, of the gateway's "
        "30 become 70. A request touches some 560 pages of an instance, half of them code of the "
        "interpreter, and a virtual machine looks each of them up in two page tables.",
        figures,
    )


def _noisy(figures: Figures) -> Section:
    return _plain(
        "## A noisy neighbour\n\nAn honest tenant alone, and beside one that burns every instance "
        "it may have. Then what the machine does without us: a bare uvicorn alone, and beside as "
        "many processes that burn at the lowest priority there is.\n\n"
        "What stands in the way of less: who wakes mostly interrupts who burns at once (half of "
        "the gateway's turns begin within 5 µs, all but one in a hundred within 60). But Linux has "
        "whoever had more than its part a moment ago wait for about as long as it ran, behind any "
        "weight or policy but real time: a few turns in a thousand begin 2 to 7 ms late, each with "
        "all requests that came meanwhile. It is the same for the visitors, who are on the same "
        "two cores: with the gateway at real-time priority the ratio was 2.5.",
        figures,
    )


def _density(figures: Figures) -> Section:
    where = {key: figures[key] for key in ("hello_where_mb", "fastapi_where_mb") if key in figures}
    rest = {key: value for key, value in figures.items() if key not in where}
    text, charts = _plain("## Density\n\nMemory of an idle instance.", rest)
    if where:
        text += f"\n\n{_WHERE}\n\n" + _table(
            ["MB", *(key.removesuffix("_where_mb") for key in where)],
            [
                [name, *(each[name] for each in where.values())]
                for name in figures["hello_where_mb"]
            ],
        )
    return text, charts


_WHERE = """\
Where an idle instance's megabytes go: nearly all are pages of the zygote, copied because Python
counts, in each object, who uses it, and so writes to what it only reads. Four in ten hold again
what they held in the zygote, three in ten differ in one or two words."""


def _routes(figures: Figures) -> Section:
    sizes = figures["sizes"]
    heads = [key.replace("_", " ") for key in sizes[0]]
    table = _table(heads, [list(size.values()) for size in sizes])
    words = (
        "## Hostnames\n\nA store with so many; lookups that memory has, and such that it has not."
    )
    return f"{words}\n\n{table}", {}


def _spawn(figures: Figures) -> Section:
    rows = figures["figures"]
    keys = ("p50_ms", "p90_ms", "count")
    table = _table(
        ["", "p50 ms", "p90 ms", "spawns"],
        [[name, *(row[key] for key in keys)] for name, row in rows.items()],
    )
    title = "A jailed Python, ready, ms (p50)"
    chart = bars(title, {name: row["p50_ms"] for name, row in rows.items()}, "waypost, root")
    words = "## Spawns\n\nFrom order to ready, with every barrier, beside other jails."
    return f"{words}\n\n{_image('spawn', title)}\n\n{table}", {"spawn": chart}


def _plain(words: str, figures: Figures) -> Section:
    """A table of every plain figure of a result, whatever its names."""
    rows: list[list[object]] = []
    for key, value in figures.items():
        if key in ("machine", "scenario", "skipped"):
            continue
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        rows += [
            [f"{key} {inner}".strip().replace("_", " "), one]
            for inner, one in pairs
            if isinstance(one, int | float)
        ]
    return f"{words}\n\n{_table(['', 'figure'], rows)}", {}


SECTIONS: dict[str, Callable[[Figures], Section]] = {
    "warm": _warm,
    "spent": _spent,
    "stream": _stream,
    "cold": _cold,
    "noisy": _noisy,
    "limits": _limits,
    "tenants": _tenants,
    "density": _density,
    "routes": _routes,
    "spawn": _spawn,
}
"""What is on the page, in this order."""
