"""The list of mutations fits the code: each text is there once, each test file exists."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest

from .mutations import MUTATIONS, PAGE, ROOT, Mutation, apply


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_it_can_be_applied_and_is_still_python(mutation: Mutation, tmp_path: Path) -> None:
    copy = tmp_path / mutation.file
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutation.file, copy)
    apply(mutation, tmp_path)
    ast.parse(copy.read_text())
    assert all((ROOT / tests).is_file() for tests in mutation.tests)


def test_every_file_of_the_jail_is_mutated() -> None:
    mutated = {Path(mutation.file).name for mutation in MUTATIONS}
    without_barrier = {"__init__.py", "syscalls.py", "syscall_numbers.py", "host_probe.py"}
    files = {path.name for path in (ROOT / "sandbox" / "jail").glob("*.py")}
    assert files - mutated - without_barrier == set()


def test_the_page_says_of_each_which_test_noticed() -> None:
    rows = re.findall(r"^\| (.+) \| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == [mutation.name for mutation in MUTATIONS]
    for name, test in rows:
        path, _, function = test.removesuffix(" (does not end)").partition("::")
        assert not function or f"def {function}(" in (ROOT / "tests" / path).read_text(), name
        assert (ROOT / "tests" / path).is_file()
