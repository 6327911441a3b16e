"""What the catalogue asks of the pool: really start a version before it serves."""

from __future__ import annotations

from typing import Protocol

from gateway.model.plan import Limits
from gateway.model.script import Version
from sandbox import payloads


class Candidate(Protocol):
    """A started instance of a version that does not serve yet."""

    @property
    def ready(self) -> payloads.Ready:
        """What the instance said when it had loaded the code."""

    @property
    def startup_ms(self) -> int:
        """Milliseconds from asking for it to ready."""

    def adopt(self) -> None:
        """Make it the first warm instance of its version."""

    def discard(self) -> None:
        """End it."""


class Launcher(Protocol):
    """Starts versions in the jail."""

    async def launch(self, version: Version, limits: Limits) -> Candidate:
        """Start a version. Raises StartFailed (the code's fault) or PlatformFailed (ours)."""


class Unstarted:
    """In place of an instance, for a version that is stored only."""

    ready = payloads.Ready("worker", False, [])
    startup_ms = 0

    def adopt(self) -> None:
        """There is nothing to keep."""

    def discard(self) -> None:
        """There is nothing to end."""
