"""What every test shares."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Nothing is to depend on the speed of a machine or on chance: no deadline for an example, the same
# examples each time. ``--hypothesis-profile default`` looks for new ones.
settings.load_profile("ci")


@pytest.fixture
def anyio_backend() -> str:
    """The node runs on asyncio; so do its tests."""
    return "asyncio"
