"""Every module of a directory of attacks, named by WAYPOST_ABUSE_DIR, in a jail of its own.

A module defines ``attempt()``, which returns ``{"success": bool}``: true when the attack worked.
The limits that a gateway adds (CPU, output, answers) are not at work: an attack that runs on is
killed after a while, and one that breaks the protocol is ended, which counts as held.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sandbox import ProtocolError, SandboxSpec, Supervisor

from .hostile import Died, Inmate

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

DIRECTORY = os.environ.get("WAYPOST_ABUSE_DIR", "")
PATIENCE_SECONDS = 5.0
GATEWAY_SIDE = {"response", "responses", "response_object"}


def modules() -> list[Path]:
    return sorted(Path(DIRECTORY).glob("[a-z][0-9][0-9]_*.py")) if DIRECTORY else []


def acceptable(module: Path) -> set[str]:
    index: Any = json.loads((module.parent / "index.json").read_text())
    for entry in index["modules"]:
        if entry["file"] == module.name:
            return set(entry["acceptable_outcomes"])
    return set()


SOURCES = {module.name: module.read_text() for module in modules()}


@pytest.mark.skipif(not DIRECTORY, reason="WAYPOST_ABUSE_DIR names no directory")
@pytest.mark.parametrize("module", modules(), ids=lambda path: path.stem)
async def test_the_attack_does_not_work(supervisor: Supervisor, module: Path) -> None:
    inmate = await Inmate.start(supervisor, SOURCES[module.name])
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await inmate.attempt()
    except (Died, TimeoutError, ProtocolError, AssertionError, ValueError):
        result = {"success": False}
    finally:
        inmate.sandbox.close()
    if not GATEWAY_SIDE & result.keys():
        assert not result["success"] or "limited" in acceptable(module), result["detail"]
    # Whatever it did, the next instance is born and verified as if nothing had been.
    (await supervisor.spawn(SandboxSpec())).close()
