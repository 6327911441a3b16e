"""Which files of the host an instance may see: distributions, their requirements, and the runtime.

Read by the gateway from the installed metadata. Markers about versions and platforms are not
evaluated: what another platform needs is not installed here, and showing it would do no harm.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SANDBOX_DIR: Final = Path(__file__).resolve().parent.parent
_RUNTIME_FILES: Final = (
    "errors.py", "outcome.py", "payloads.py", "protocol.py", "spec.py", "runtime",
)  # fmt: skip
_ALWAYS: Final = ("msgspec",)
_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA_MARKER: Final = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class RuntimeFiles:
    """What to show and where to import it from."""

    paths: tuple[str, ...]
    import_path: tuple[str, ...]
    missing: tuple[str, ...]
    """Listed distributions that are not installed."""
    installed: tuple[str, ...]
    """Listed distributions that are."""


def _parse(requirement: str) -> tuple[str, frozenset[str]] | None:
    match = _REQUIREMENT.match(requirement)
    if match is None:
        return None
    extras = frozenset(part.strip() for part in (match[2] or "").split(",") if part.strip())
    return re.sub(r"[-_.]+", "-", match[1]).lower(), extras


def _find(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _required(
    distribution: importlib.metadata.Distribution, extras: frozenset[str]
) -> Iterator[tuple[str, frozenset[str]]]:
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        wanted_by = set(_EXTRA_MARKER.findall(marker))
        parsed = _parse(requirement)
        if parsed is not None and (not wanted_by or wanted_by & extras):
            yield parsed


def closure(names: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """Return the installed distributions that the named ones require, themselves included."""
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [parsed for name in names if (parsed := _parse(name)) is not None]
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        distribution = found.get(item[0]) or _find(item[0])
        if distribution is not None:
            found[item[0]] = distribution
            todo.extend(_required(distribution, item[1]))
    return found


def _owned(base: Path, files: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield the fewest paths below base that hold these files and nothing of another owner."""
    by_first: dict[str, set[tuple[str, ...]]] = {}
    for parts in files:
        by_first.setdefault(parts[0], set()).add(parts[1:])
    for name, rest in by_first.items():
        path = base / name
        if not path.is_dir():
            if path.is_file() and path.suffix != ".pth":
                yield str(path)
        elif _is_whole(path, {parts[0] for parts in rest if parts}):
            yield str(path)
        else:
            yield from _owned(path, (parts for parts in rest if parts))


def _is_whole(directory: Path, owned: set[str]) -> bool:
    if directory.name == "__pycache__":
        return False
    if "__init__.py" in owned or directory.suffix == ".dist-info":
        return True
    return set(os.listdir(directory)) - {"__pycache__"} <= owned


def _paths_of(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    base = Path(str(distribution.locate_file("")))
    recorded = [file.parts for file in distribution.files or ()]
    if not recorded:
        for name in (distribution.read_text("top_level.txt") or "").split():
            yield from (str(path) for path in (base / name, base / f"{name}.py") if path.exists())
        return
    # Scripts and data outside the import directory are recorded with leading "..".
    yield from _owned(base, (parts for parts in recorded if parts[0] not in ("..", "/")))


def find(packages: Iterable[str]) -> RuntimeFiles:
    """Collect the files of the listed distributions, of what they require, and of the runtime."""
    listed = tuple(packages)
    found = closure((*_ALWAYS, *listed))
    known = {name: (parsed := _parse(name)) is not None and parsed[0] in found for name in listed}
    paths = {str(SANDBOX_DIR / name) for name in _RUNTIME_FILES}
    bases = {str(SANDBOX_DIR.parent): None}
    for distribution in found.values():
        bases[os.path.abspath(str(distribution.locate_file("")))] = None
        paths.update(os.path.abspath(path) for path in _paths_of(distribution))
    return RuntimeFiles(
        paths=tuple(sorted(path for path in paths if os.path.exists(path))),
        import_path=tuple(bases),
        missing=tuple(name for name, here in known.items() if not here),
        installed=tuple(name for name, here in known.items() if here),
    )


def closed_to_others() -> str:
    """Say which directory on the way to the interpreter or to us other users may not pass."""
    for start in (SANDBOX_DIR, Path(os.__file__).resolve().parent):
        for folder in (start, *start.parents):
            if not folder.stat().st_mode & stat.S_IXOTH:
                return f"{folder} is closed to other users"
    return ""
