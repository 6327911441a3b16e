"""One supervisor a test, and a reason when this host cannot have one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox import Supervisor, SupervisorSettings, examine_host, host_level

PACKAGES = ("starlette",)


@pytest.fixture(scope="session")
def jail_level() -> str:
    """The level of this host; skips where untrusted code may not run."""
    barriers = examine_host()
    level = host_level(barriers)
    if level == "none":
        pytest.skip("; ".join(f"{b.name}: {b.detail}" for b in barriers if not b.available))
    return level


@pytest.fixture
async def supervisor(jail_level: str, anyio_backend: str) -> AsyncIterator[Supervisor]:
    """A running supervisor, closed afterwards."""
    running = Supervisor(SupervisorSettings(packages=PACKAGES, minimum_level=jail_level))
    await running.start()
    assert running.level == jail_level
    yield running
    await running.close()
