"""The tree of the jail: packages that nobody listed are not in it."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from sandbox import Supervisor
from sandbox.ladder import LANDLOCK
from sandbox.supervisor import runtime_files

from .conftest import PACKAGES
from .hostile import run

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

BESIDE = [Path(sysconfig.get_path("stdlib"), name) for name in ("site-packages", "dist-packages")]
"""Where packages lie below the standard library, which is shown as a whole."""


async def test_packages_below_the_standard_library_are_hidden(supervisor: Supervisor) -> None:
    shown = runtime_files.find(PACKAGES).paths
    hidden = [
        str(file)
        for folder in BESIDE
        for file in folder.rglob("*.py")
        if not str(file).startswith(shown)
    ]
    if not hidden:
        pytest.skip("no package lies below the standard library")
    code = """
import os
def attempt(env):
    def seen(path):
        if env.BY_NAME: return os.path.exists(path)
        try: return os.close(os.open(path, os.O_RDONLY)) is None
        except OSError: return False
    return [path for path in env.PATHS if seen(path)]
"""
    # Where nothing can be mounted who knows a name can ask whether it exists.
    by_name = supervisor.level != LANDLOCK
    assert await run(supervisor, code, {"PATHS": hidden[:200], "BY_NAME": by_name}) == []
