"""Keeps what this process knows, such as tenants' secrets, out of the dump of a crash."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import Final

FILTER: Final = Path("/proc/self/coredump_filter")


def leave_no_dump() -> None:
    """Let a crash leave no memory behind, in a file or with a program that collects dumps.

    Such programs are started whatever the limit is: so no mapping belongs to the dump either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Kernels without core dumps have no such file.
    with contextlib.suppress(OSError):
        FILTER.write_text("0")
