"""Bundles that bring packages along, as ``pip install --target python_modules`` lays them out."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

SKIPPED = (".pyc", ".so")


def vendored(*distributions: str) -> dict[str, str | bytes]:
    """The files of installed distributions as modules below ``python_modules``."""
    modules: dict[str, str | bytes] = {}
    for name in distributions:
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            # What lies outside is scripts and data.
            if file.parts[0] != ".." and not path.name.endswith(SKIPPED):
                modules[f"python_modules/{file.as_posix()}"] = path.read_bytes()
    assert modules, "nothing is installed under these names"
    return modules
