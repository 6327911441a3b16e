"""Which of two versions of a package is imported: the platform's loaded one, or the bundle's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from sandbox.runtime.vendored import MissFinder, Platform


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An import directory of the platform's."""
    folder = tmp_path / "host"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture(autouse=True)
def clean_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(folder: Path, name: str, version: str, source: str = "", *needs: str) -> None:
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"VERSION = {version!r}\n{source}")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{requires}")


def loaded(*names: str) -> Platform:
    """A platform that has loaded these, as the zygote does."""
    platform = Platform()
    finder = MissFinder(platform)
    sys.meta_path.append(finder)
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
    platform.remember({name: [name] for name in names})
    return platform


def imported(bundle: Path, name: str) -> str:
    sys.path.insert(0, str(bundle))
    importlib.invalidate_caches()
    try:
        return str(importlib.import_module(name).VERSION)
    finally:
        sys.path.remove(str(bundle))


def test_the_same_version_stays_loaded(host: Path, tmp_path: Path) -> None:
    install(host, "wp_base", "1")
    platform = loaded("wp_base")
    module = sys.modules["wp_base"]
    install(tmp_path / "b", "wp_base", "1")
    assert platform.give_way([str(tmp_path / "b")]) == []
    assert sys.modules["wp_base"] is module


def test_another_version_is_taken_from_the_bundle(host: Path, tmp_path: Path) -> None:
    install(host, "wp_base", "1")
    platform = loaded("wp_base")
    install(tmp_path / "b", "wp_base", "2")
    assert platform.give_way([str(tmp_path / "b")]) == []
    assert imported(tmp_path / "b", "wp_base") == "2"


def test_what_builds_on_it_is_loaded_afresh(host: Path, tmp_path: Path) -> None:
    install(host, "wp_base", "1")
    install(host, "wp_web", "1", "import wp_base\nBASE = wp_base.VERSION\n", "wp-base>=1")
    platform = loaded("wp_base", "wp_web")
    install(tmp_path / "b", "wp_base", "2")
    platform.give_way([str(tmp_path / "b")])
    assert imported(tmp_path / "b", "wp_base") == "2"
    assert importlib.import_module("wp_web").BASE == "2"


def test_compiled_parts_leave_the_platforms_version_and_say_so(host: Path, tmp_path: Path) -> None:
    install(host, "wp_core", "1")
    install(host, "wp_model", "1", "", "wp-core==1")
    platform = loaded("wp_core", "wp_model")
    bundle = tmp_path / "b"
    install(bundle, "wp_core", "2")
    (bundle / "wp_core" / f"native{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    install(bundle, "wp_model", "2", "", "wp-core==2")
    notes = platform.give_way([str(bundle)])
    assert [note.partition(",")[0] for note in notes] == [
        "wp-core 2 of the bundle is not used",
        "wp-model 2 of the bundle is not used",
    ]
    assert sys.modules["wp_model"].VERSION == "1"


def test_a_module_of_the_tenants_own_wins_by_its_name(host: Path, tmp_path: Path) -> None:
    install(host, "wp_base", "1")
    platform = loaded("wp_base")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "wp_base.py").write_text("VERSION = 'own'\n")
    platform.give_way([str(tmp_path / "b")])
    assert imported(tmp_path / "b", "wp_base") == "own"


def test_an_optional_dependency_that_only_the_bundle_has_is_found(
    host: Path, tmp_path: Path
) -> None:
    source = "try:\n    import wp_extra\nexcept ImportError:\n    wp_extra = None\n"
    install(host, "wp_web", "1", source)
    platform = loaded("wp_web")
    assert sys.modules["wp_web"].wp_extra is None
    install(tmp_path / "b", "wp_extra", "1")
    platform.give_way([str(tmp_path / "b")])
    sys.path.insert(0, str(tmp_path / "b"))
    try:
        assert importlib.import_module("wp_web").wp_extra.VERSION == "1"
    finally:
        sys.path.remove(str(tmp_path / "b"))


def test_a_bundle_without_packages_changes_nothing(host: Path, tmp_path: Path) -> None:
    install(host, "wp_base", "1")
    platform = loaded("wp_base")
    before = dict(sys.modules)
    (tmp_path / "main.py").write_text("")
    assert platform.give_way([str(tmp_path), str(tmp_path / "nowhere")]) == []
    assert sys.modules == before
