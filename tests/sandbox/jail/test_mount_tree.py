"""Where the new root is built, and what of it Landlock opens."""

from __future__ import annotations

import pytest

from sandbox.jail import mounts


def test_the_stage_hides_no_source() -> None:
    stage = mounts.choose_stage(["/mnt/venv/lib", "/usr/lib"])
    assert stage != "/mnt"


def test_a_source_that_is_the_stage_itself_counts() -> None:
    assert mounts.choose_stage(["/mnt"]) != "/mnt"


def test_no_free_stage_is_an_error() -> None:
    everywhere = ["/mnt", "/media", "/srv", "/opt", "/sys", "/run", "/var"]
    with pytest.raises(OSError, match="free directory"):
        mounts.choose_stage(everywhere)


def test_tops_are_the_first_components_once() -> None:
    tree = mounts.Tree(("/usr/lib/a", "/usr/share/b", "/home/x"))
    assert tree.tops() == ("/home", "/usr")
