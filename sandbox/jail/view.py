"""The file tree where nothing can be mounted: what Landlock grants, and where to import it from.

A grant covers all that lies below it. So a directory with something hidden in it is granted child
by child, and import directories are replaced by directories of links that name only what was
granted: who lists them learns nothing of the rest.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence

from sandbox.jail.mounts import Tree


def grants(tree: Tree) -> tuple[str, ...]:
    """Return the paths to grant, so that no masked directory is below any of them."""
    masked = frozenset(map(os.path.realpath, tree.masked))
    found = {path for shown in tree.paths for path in _unmasked(os.path.realpath(shown), masked)}
    return tuple(sorted(path for path in found if not is_covered(path, found)))


def _unmasked(path: str, masked: Iterable[str]) -> Iterator[str]:
    if path in masked:
        return
    if not any(hidden.startswith(path + "/") for hidden in masked):
        yield path
        return
    for name in os.listdir(path):
        child = os.path.join(path, name)
        # A link leads to what is granted by its own name, or to what nobody granted.
        if not os.path.islink(child):
            yield from _unmasked(child, masked)


def is_covered(path: str, granted: Collection[str]) -> bool:
    """Whether a directory above a path is granted."""
    while (parent := os.path.dirname(path)) != path:
        if parent in granted:
            return True
        path = parent
    return False


def link(import_path: Sequence[str], granted: Sequence[str], directory: str) -> list[str]:
    """Return the import path by way of directories of links, made below an empty directory."""
    paths = frozenset(granted)
    return [
        _link_one(entry, paths, os.path.join(directory, str(number)))
        for number, entry in enumerate(import_path)
    ]


def _link_one(entry: str, granted: Collection[str], target: str) -> str:
    real = os.path.realpath(entry)
    if real in granted or is_covered(real, granted):
        return entry
    os.mkdir(target, 0o755)
    for path in sorted(granted):
        if path.startswith(real + "/"):
            place = target + path[len(real) :]
            os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
            os.symlink(path, place)
    return target
