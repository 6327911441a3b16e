"""The order of the house: what imports what, how long a file is, what stands at the door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 500
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md",
    "SECURITY.md", "benchmarks", "docs", "gateway", "pyproject.toml", "routing.yaml", "sandbox",
    "tests",
}  # fmt: skip
SOURCES = sorted(path for room in ("gateway", "sandbox") for path in (ROOT / room).rglob("*.py"))


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.split()


def test_imports_go_down_the_stairs() -> None:
    lint = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = grimp.build_graph(
        "gateway", "sandbox", exclude_type_checking_imports=True, cache_dir=None
    )
    circles = []
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(imported, module)
            if chain:
                circles.append((module, *chain))
    assert circles == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_nothing_new_stands_at_the_top_without_thought() -> None:
    assert {name.split("/")[0] for name in tracked()} <= TOP_LEVEL


def test_packages_say_what_they_are() -> None:
    packages = [path for path in SOURCES if path.name == "__init__.py"]
    assert packages
    assert [path for path in packages if not path.read_text().startswith('"""')] == []
