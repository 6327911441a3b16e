"""How many instances a node may hold."""

from __future__ import annotations

import resource
import subprocess
import sys

SCRIPT = """
import resource, sys
from gateway.pool.memory import as_many_as_fit
files = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
print(as_many_as_fit(2048))
"""


def held_with(files: int) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(files)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return int(ran.stdout)


def test_instances_leave_half_of_the_files_to_others() -> None:
    assert held_with(600) == 100
    assert held_with(min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])) <= 2048
