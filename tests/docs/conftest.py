"""What this host can jail."""

from __future__ import annotations

import pytest

from sandbox import examine_host, host_level


@pytest.fixture(scope="session")
def jail_level() -> str:
    """The level of this host."""
    return host_level(examine_host())
