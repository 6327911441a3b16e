"""The listener's server and what its process may have open."""

from __future__ import annotations

import resource
import subprocess
import sys

from gateway.edge.server import ROOM

SAY = """
import re
from pathlib import Path
from gateway.config import Http
from gateway.edge.server import within_descriptors
within_descriptors(Http())
print(re.search(r"FDSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_no_connection_waits_for_the_table_of_descriptors_to_grow() -> None:
    room = int(subprocess.check_output([sys.executable, "-c", SAY]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or room >= min(ROOM, hard)
