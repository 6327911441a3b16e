"""Which files an instance may see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.supervisor import runtime_files


def test_the_protocol_is_always_there() -> None:
    files = runtime_files.find(())
    shown = {Path(path).name for path in files.paths}
    assert {"payloads.py", "protocol.py", "runtime", "msgspec"} <= shown


def test_the_gateway_half_is_not_shown() -> None:
    sandbox = runtime_files.SANDBOX_DIR
    for path in runtime_files.find(("starlette",)).paths:
        assert not str(sandbox / "supervisor").startswith(path)
        assert not str(sandbox.parent / "gateway").startswith(path)


def test_requirements_come_along_and_strangers_do_not() -> None:
    shown = {Path(path).name for path in runtime_files.find(("starlette",)).paths}
    assert {"starlette", "anyio", "idna"} <= shown
    assert not {"pytest", "_pytest", "uvicorn", "httpx", "pip", "gateway"} & shown


def test_what_is_not_installed_is_told() -> None:
    files = runtime_files.find(("starlette", "no-such-distribution-here"))
    assert files.missing == ("no-such-distribution-here",)
    assert files.installed == ("starlette",)


def test_no_path_file_is_shown() -> None:
    assert not [path for path in runtime_files.find(("pytest",)).paths if path.endswith(".pth")]


def write_distribution(base: Path, name: str, files: list[str], requires: list[str]) -> None:
    info = base / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"]
    lines += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    (info / "METADATA").write_text("".join(lines))
    for file in files:
        (base / file).parent.mkdir(parents=True, exist_ok=True)
        (base / file).write_text("")
    record = [*files, f"{info.name}/METADATA", f"{info.name}/RECORD", "../../../bin/tool"]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in record))


def shown_below(base: Path, packages: tuple[str, ...]) -> set[str]:
    paths = runtime_files.find(packages).paths
    return {os.path.relpath(path, base) for path in paths if path.startswith(f"{base}/")}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_shared_namespace_shows_only_what_was_asked_for(base: Path) -> None:
    write_distribution(base, "one", ["shared/one/__init__.py"], [])
    write_distribution(base, "two", ["shared/two/__init__.py"], [])
    assert shown_below(base, ("one",)) == {"shared/one", "one-1.0.dist-info"}


def test_a_single_module_brings_its_own_cache_only(base: Path) -> None:
    cached = "__pycache__/single.cpython-311.pyc"
    write_distribution(base, "single", ["single.py", cached], [])
    write_distribution(base, "other", ["other.py", "__pycache__/other.cpython-311.pyc"], [])
    assert shown_below(base, ("single",)) == {"single.py", cached, "single-1.0.dist-info"}


def test_extras_are_followed_when_asked_for(base: Path) -> None:
    requires = ['plain>=1; python_version >= "3"', 'fancy; extra == "full"']
    write_distribution(base, "host", ["host/__init__.py"], requires)
    write_distribution(base, "plain", ["plain/__init__.py"], [])
    write_distribution(base, "fancy", ["fancy/__init__.py"], [])
    assert "fancy" not in shown_below(base, ("host",))
    assert {"host", "plain", "fancy"} <= shown_below(base, ("host[full]",))
