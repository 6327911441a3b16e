"""The same attacks on hosts that have less, each made on this machine by taking rights away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from .hosts import LEVELS, ROOT, UID

pytestmark = [pytest.mark.isolation, pytest.mark.timeout(900)]

EVERYWHERE = ["test_alone.py", "test_attacks.py"]
"""What is tried on every host; WAYPOST_EVERY_HOST=all asks for the whole directory."""
SELF = Path(__file__).name
EXAMINE = """
import asyncio, json
from sandbox import HostUnfit, Supervisor, SupervisorSettings, examine_host, host_level
async def start():
    supervisor = Supervisor(SupervisorSettings())
    try:
        await supervisor.start()
        return {"level": supervisor.level}
    except HostUnfit as error:
        return {"barrier": error.barrier, "fix": error.fix}
    finally:
        await supervisor.close()
print(json.dumps([host_level(examine_host()), asyncio.run(start())]))
"""


@pytest.fixture(autouse=True)
def _can_confine(jail_level: str) -> None:
    if os.geteuid() or jail_level != "full":
        pytest.skip("only root on a host that has everything can take it away")


def on(host: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.isolation.hosts", host, sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def examine(host: str) -> Any:
    done = on(host, "-c", EXAMINE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("host", "level"), LEVELS.items())
def test_the_doctor_sees_what_the_host_offers(host: str, level: str) -> None:
    assert examine(host)[0] == level


@pytest.mark.parametrize("host", [host for host, level in LEVELS.items() if level == "landlock"])
def test_by_default_nothing_runs_without_namespaces(host: str) -> None:
    started = examine(host)[1]
    assert started["barrier"] == ("pid namespace" if host == "root-alone" else "user namespaces")
    assert "sandbox.minimum_level: landlock" in started["fix"]
    if host == "user-sysctl":
        assert "sysctl -w user.max_user_namespaces=" in started["fix"]


@pytest.mark.parametrize("host", ["user", "user-alone", "root-alone"])
def test_the_attacks_do_not_work_there_either(host: str) -> None:
    folder = Path(__file__).parent
    names = EVERYWHERE
    if os.environ.get("WAYPOST_EVERY_HOST") == "all":
        names = sorted(path.name for path in folder.glob("test_*.py") if path.name != SELF)
    files = [str(folder / name) for name in names]
    # Below a directory that the other user may pass, which pytest's own are not.
    with tempfile.TemporaryDirectory() as shared:
        os.chown(shared, UID, UID)
        options = ["-q", "-p", "no:cacheprovider", f"--basetemp={shared}/base"]
        done = on(host, "-m", "pytest", *options, *files)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
