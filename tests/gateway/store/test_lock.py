"""Two nodes on one data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store.lock import DataDirTaken, NodeLock


def test_a_second_node_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    lock = NodeLock.take(tmp_path)
    with pytest.raises(DataDirTaken, match=rf"process {os.getpid()}\).*--data-dir"):
        NodeLock.take(tmp_path)
    with pytest.raises(DataDirTaken):
        NodeLock.take(tmp_path, "manager-7")
    lock.release()
    NodeLock.take(tmp_path).release()


def test_nodes_of_one_manager_may_overlap(tmp_path: Path) -> None:
    first = NodeLock.take(tmp_path, "manager-7")
    second = NodeLock.take(tmp_path, "manager-7")
    first.release()
    with pytest.raises(DataDirTaken):
        NodeLock.take(tmp_path, "manager-8")
    third = NodeLock.take(tmp_path, "manager-7")
    second.release()
    third.release()
    NodeLock.take(tmp_path, "manager-8").release()


def test_a_node_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gateway.store.lock import NodeLock;"
        "lock = NodeLock.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(DataDirTaken, match=f"process {process.pid}"):
            NodeLock.take(tmp_path)
        process.kill()
    NodeLock.take(tmp_path).release()
