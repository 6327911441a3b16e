"""Bundles that bring packages along, as ``pip install --target python_modules`` lays them out."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

SKIPPED = (".pyc", ".pyi", ".h")


def vendored(*distributions: str, compiled: bool = False) -> dict[str, str | bytes]:
    """The files of installed distributions as modules below ``python_modules``."""
    skipped = SKIPPED if compiled else (*SKIPPED, ".so")
    modules: dict[str, str | bytes] = {}
    for name in distributions:
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            # What lies outside is scripts and data.
            if file.parts[0] == ".." or "tests" in file.parts:
                continue
            if not path.name.endswith(skipped) and path.is_file():
                modules[f"python_modules/{file.as_posix()}"] = path.read_bytes()
    assert modules, "nothing is installed under these names"
    return modules
