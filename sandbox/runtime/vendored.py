"""Packages that a bundle brings along although the platform has them loaded already.

Without this the loaded ones would silently win: the import system asks ``sys.modules`` first. A
bundle's own version is loaded instead, and with it afresh whatever of the platform's builds on it.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from types import FrameType, ModuleType

_OURS = frozenset({"msgspec", "workers"})
"""What the runtime itself stands on; a bundle's copy is left alone."""
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_PINNED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*\(?==\s*([^\s;,)*]+)\)?\s*(?:;|$)")
_COMPILED = tuple(EXTENSION_SUFFIXES)


def normal(name: str) -> str:
    """Return a distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Platform:
    """What the zygote has loaded, by top-level module."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._requires: dict[str, set[str]] = {}
        self._missed: dict[str, set[str]] = {}
        """Modules that were looked for in vain, and who did: optional dependencies."""

    def remember(self, installed: Mapping[str, list[str]]) -> None:
        """Note the distributions of all modules that are loaded now."""
        for module, owners in installed.items():
            if module in sys.modules and module not in _OURS:
                self._owners[module] = normal(owners[0])
        for name in set(self._owners.values()):
            distribution = importlib.metadata.distribution(name)
            self._versions[name] = distribution.version
            lines = (_NAME.match(line) for line in distribution.requires or ())
            self._requires[name] = {normal(found[1]) for found in lines if found}

    def missed(self, module: str, importer: str) -> None:
        """Note an import that failed."""
        self._missed.setdefault(module, set()).add(importer)

    def give_way(self, folders: Sequence[str]) -> list[str]:
        """Forget what the folders bring in another version; return what they bring in vain."""
        offered = _offered(folders)
        clashes = offered.keys() & self._owners.keys()
        vain: list[str] = []
        wanted = self._choose({name: offered[name] for name in clashes}, _versions(folders), vain)
        for name in offered.keys() & self._missed.keys():
            if not offered[name].endswith(_COMPILED):
                wanted |= self._missed[name] & self._owners.keys()
        if wanted:
            _forget(self._with_dependents(wanted))
        return vain

    def _choose(
        self, clashes: Mapping[str, str], bundled: Mapping[str, _Bundled], vain: list[str]
    ) -> set[str]:
        """Pick the modules to take from the bundle: of another version, and pure Python."""
        wanted: set[str] = set()
        kept: set[str] = set()
        for name, path in clashes.items():
            owner = self._owners[name]
            found = bundled.get(owner)
            if found is not None and found.version == self._versions[owner]:
                continue
            if found is not None and _has_compiled_parts(path):
                kept.add(owner)
                vain.append(self._note(owner, found.version, "it has compiled parts"))
            else:
                wanted.add(name)
        self._drop_pinned(wanted, kept, bundled, vain)
        return wanted

    def _drop_pinned(
        self, wanted: set[str], kept: set[str], bundled: Mapping[str, _Bundled], vain: list[str]
    ) -> None:
        """Leave out what insists on a version that cannot be had, until nothing more does."""
        while True:
            broken = {
                name
                for name in wanted
                if (found := bundled.get(self._owners[name])) is not None and found.pins() & kept
            }
            if not broken:
                return
            wanted -= broken
            for owner in {self._owners[name] for name in broken}:
                kept.add(owner)
                why = "it needs exactly one that cannot be loaded"
                vain.append(self._note(owner, bundled[owner].version, why))

    def _note(self, owner: str, version: str, why: str) -> str:
        return (
            f"{owner} {version} of the bundle is not used, {why}: "
            f"the platform's {owner} {self._versions[owner]} is"
        )

    def _with_dependents(self, modules: set[str]) -> set[str]:
        """Add the modules of all distributions that build on these."""
        owners = {self._owners[name] for name in modules}
        while True:
            more = {name for name, needs in self._requires.items() if needs & owners} - owners
            if not more:
                break
            owners |= more
        return modules | {name for name, owner in self._owners.items() if owner in owners}


class _Bundled:
    """A distribution in the bundle, by its ``.dist-info`` directory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.name, _, self.version = os.path.basename(path)[: -len(".dist-info")].rpartition("-")

    def pins(self) -> set[str]:
        """Return the distributions of which it needs exactly one version."""
        try:
            with open(os.path.join(self._path, "METADATA"), encoding="utf-8") as file:
                lines = [line[14:] for line in file if line.startswith("Requires-Dist:")]
        except (OSError, UnicodeDecodeError):
            return set()
        return {normal(found[1]) for line in lines if (found := _PINNED.match(line))}


def _offered(folders: Iterable[str]) -> dict[str, str]:
    """Return the path of each top-level module below the folders; the first folder wins."""
    found: dict[str, str] = {}
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir() or entry.name.endswith((".py", *_COMPILED)):
                found.setdefault(entry.name.partition(".")[0], entry.path)
    return found


def _versions(folders: Iterable[str]) -> dict[str, _Bundled]:
    found: dict[str, _Bundled] = {}
    for folder in folders:
        if os.path.isdir(folder):
            for entry in os.scandir(folder):
                if entry.name.endswith(".dist-info"):
                    bundled = _Bundled(entry.path)
                    found.setdefault(normal(bundled.name), bundled)
    return found


def _has_compiled_parts(path: str) -> bool:
    if not os.path.isdir(path):
        return path.endswith(_COMPILED)
    return any(name.endswith(_COMPILED) for _, _, names in os.walk(path) for name in names)


def _forget(tops: set[str]) -> None:
    """Unload modules. Compiled ones stay: most cannot be initialised twice."""
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        spec = getattr(sys.modules[name], "__spec__", None)
        if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
            del sys.modules[name]


class MissFinder:
    """Stands last on ``sys.meta_path`` while packages are loaded; notes what is not there."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find nothing."""
        if "." not in name:
            importer = _importer(sys._getframe(1))
            self._platform.missed(name, importer.partition(".")[0])
        return None


def _importer(frame: FrameType | None) -> str:
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != "importlib":
            return name
        frame = frame.f_back
    return ""


platform = Platform()
"""The one of this process; filled by the zygote."""
