"""A call of a script that no client asked for."""

from __future__ import annotations

import msgspec

from gateway.model.script import ScriptKey


class Scheduled(msgspec.Struct, frozen=True, gc=False):
    """A schedule of a script is due."""

    key: ScriptKey
    cron: str
    """The expression, as its owner wrote it."""
    time_ms: int
    """The minute it is due, or the time at which somebody asked for it."""
