"""Every promise of the security page names tests that exist, and every barrier is on it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sandbox import SandboxSpec
from sandbox.jail.seccomp_policy import ALLOW
from sandbox.supervisor import spawn
from sandbox.supervisor.messages import SpawnOrder

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PAGE = (ROOT / "docs" / "security.md").read_text()
ATTACKS = {
    module["id"]
    for module in json.loads((TESTS / "isolation/attacks/index.json").read_text())["modules"]
}
MEANS = {"__init__.py", "syscalls.py", "syscall_numbers.py", "host_probe.py"}
"""Files of the jail that are no barrier themselves."""
TABLES = ("The barriers", "The limits")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def proofs(cell: str) -> Iterator[str]:
    yield from re.findall(r"`([\w/.]+::\w+)`", cell)
    yield from re.findall(r"\[(\w+)\]", cell)


PROMISES = [(row[0], row[-1]) for title in TABLES for row in rows(title)]
NAMED = sorted(set(re.findall(r"`([\w/.]+\.py::\w+)`", PAGE)))


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def test_the_tables_were_found() -> None:
    assert len(rows("The barriers")) > 10
    assert len(rows("The limits")) > 10
    assert len(NAMED) > 30


@pytest.mark.parametrize(("promise", "cell"), PROMISES, ids=[name[:24] for name, _ in PROMISES])
def test_every_promise_has_its_proof(promise: str, cell: str) -> None:
    assert list(proofs(cell)), promise


@pytest.mark.parametrize("name", NAMED)
def test_every_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert function.startswith("test_")
    assert function in functions(path)


def test_every_named_attack_exists() -> None:
    named = set(re.findall(r"\[([a-z]\d\d_\w+)\]", PAGE))
    assert named
    assert named <= ATTACKS


@pytest.mark.parametrize(
    "name", sorted({path.name for path in (ROOT / "sandbox" / "jail").glob("*.py")} - MEANS)
)
def test_every_barrier_is_in_the_table(name: str) -> None:
    named = [row for row in rows("The barriers") if f"`jail/{name}`" in row[0]]
    assert len(named) == 1
    assert all(named[0])


def test_no_file_is_named_that_is_gone() -> None:
    for name in re.findall(r"`((?:jail|supervisor|isolation)/[\w/]+\.py)`", PAGE):
        assert (ROOT / "sandbox" / name).exists() or (TESTS / name).exists(), name


def test_the_steps_of_an_instance_are_those_of_the_recipe_in_their_order() -> None:
    spec = SandboxSpec()
    sizes = (spec.memory_bytes, spec.scratch_bytes, spec.bundle_bytes, spec.bundle_files)
    recipe = spawn.Recipe(
        entry=lambda *_, **__: None, null=0, address_space_bytes=0, landlock_abi=7
    )
    birth = spawn.Birth(SpawnOrder(1, *sizes), uid=1, wire=0, log=0)
    steps = spawn._outside_steps(recipe, birth) + spawn._jail_steps(recipe, birth)
    written = re.findall(r"^\d+\. `([\w ]+)`", section("The way of an instance"), re.MULTILINE)
    assert [name for name, _ in steps] == written


def test_the_number_of_allowed_system_calls_is_right() -> None:
    (said,) = re.findall(r"about (\d+) calls", PAGE)
    calls = {name for group in ALLOW for name in group.names.split()}
    assert abs(len(calls) - int(said)) <= 10
