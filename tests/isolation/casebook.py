"""The attacks to be tried: our own, and those of a directory that WAYPOST_ABUSE_DIR names.

A module defines ``attempt()``, sync or async, which returns a dict: ``success`` is true when the
attack worked. ``response``, ``responses`` or ``response_object`` in it are for the handler to
answer with. ``index.json`` says of each module which outcomes are acceptable, its limits, and what
must hold afterwards.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

OWN: Final = Path(__file__).with_name("attacks")
HANDLER: Final = """

import inspect as _inspect, json as _json
from urllib.parse import urlsplit as _urlsplit
from workers import Response as _Response, fetch as _fetch

async def _fetches():
    said = []
    for _ in range(8):
        try:
            await _fetch("http://127.0.0.1:9/")
            said.append("reached")
        except Exception as error:
            said.append(str(error))
    return said

async def on_fetch(request, env, ctx):
    parts = _urlsplit(request.url)
    if parts.path == "/well":
        return _Response("well")
    if parts.path == "/fetches":
        return _Response(_json.dumps(await _fetches()))
    result = attempt()
    if _inspect.isawaitable(result):
        result = await result
    if "response_object" in result:
        return _Response(result["response_object"])
    if "responses" in result:
        given = result["responses"]
        wanted = given[int(parts.query.partition("i=")[2].partition("&")[0] or 0) % len(given)]
        return _Response(wanted["body"], status=wanted["status"], headers=wanted["headers"])
    if "response" in result:
        wanted = result["response"]
        return _Response(wanted["body"], status=wanted["status"], headers=wanted["headers"])
    return _Response(_json.dumps(result), headers={"content-type": "application/json"})
"""
"""Follows a module, and makes it a worker."""
MANY_RESPONSES: Final = 10
PATIENT_WALL_MS: Final = 10_000
"""For what another limit is to end: who burns gives way, and may get a twentieth of a core."""


@dataclass(frozen=True, slots=True)
class Case:
    """One attack and what may come of it."""

    id: str
    title: str
    """What it tries, in a sentence."""
    source: str
    """The module and a handler that runs it."""
    acceptable: frozenset[str]
    cpu_ms: int
    wall_ms: int
    post_checks: frozenset[str]
    answers: bool
    """It hands over something to answer with."""
    requests: int = 1
    needs_scratch: bool = False
    """It prepares files; where none can be written it comes to an error."""

    @property
    def plan(self) -> str:
        """The plan that has its limits."""
        return f"cpu{self.cpu_ms}-wall{self.wall_ms}"


def read_cases() -> list[Case]:
    """Our own attacks, then those of the named directory."""
    named = os.environ.get("WAYPOST_ABUSE_DIR", "")
    return [
        case for folder in [OWN, *([Path(named)] if named else [])] for case in read_folder(folder)
    ]


def read_folder(folder: Path) -> list[Case]:
    """The attacks of one directory, in the order of its index."""
    index: Any = json.loads((folder / "index.json").read_text())
    return [_case(folder, entry) for entry in index["modules"]]


def _case(folder: Path, entry: dict[str, Any]) -> Case:
    source = (folder / entry["file"]).read_text()
    post_checks = frozenset(entry.get("post_checks", ()))
    requests = entry.get("requests", 1)
    if '"responses"' in source:
        requests = MANY_RESPONSES
    if "repeat_60_times_stays_bounded" in post_checks:
        requests = 60
    acceptable = frozenset(entry["acceptable_outcomes"])
    wall_ms = int(entry["suggested_wall_s"] * 1000)
    if "killed_wall" not in acceptable:
        wall_ms = max(wall_ms, PATIENT_WALL_MS)
    return Case(
        id=entry["id"],
        title=entry["title"],
        source=source + HANDLER,
        acceptable=acceptable,
        cpu_ms=entry["suggested_cpu_ms"],
        wall_ms=wall_ms,
        post_checks=post_checks,
        answers='"response' in source,
        requests=requests,
        needs_scratch=entry.get("needs_scratch", False),
    )
