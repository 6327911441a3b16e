"""Where bundles lie without namespaces: nodes that start together leave each other alone."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.supervisor import outer


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """What is held is held for ever: the test lets go of it."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    for name in set(os.listdir("/proc/self/fd")) - before:
        if Path(f"/proc/self/fd/{name}").exists():
            os.close(int(name))


def remove_at_once(directory: str) -> None:
    os.rmdir(directory)


def remove_while_holding(directory: str) -> None:
    """As a node that looks for leftovers, which has found it and is not done yet."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_EX)

    def remove() -> None:
        os.rmdir(directory)
        os.close(held)

    threading.Timer(0.05, remove).start()


@pytest.mark.parametrize("remove", [remove_at_once, remove_while_holding])
def test_one_that_another_node_takes_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: Callable[[str], None]
) -> None:
    make = tempfile.mkdtemp
    made: list[str] = []

    def make_and_lose(**options: Any) -> str:
        made.append(make(**options))
        if len(made) == 1:
            remove(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    directory = outer.make_directory(str(tmp_path))
    assert [Path(directory)] == list(tmp_path.iterdir())
    assert len(made) == 2


def test_what_nobody_holds_is_removed_and_what_somebody_holds_is_not(tmp_path: Path) -> None:
    first = outer.make_directory(str(tmp_path))
    (tmp_path / "waypost-bundles-left").mkdir()
    second = outer.make_directory(str(tmp_path))
    assert {Path(first), Path(second)} == set(tmp_path.iterdir())
