"""What an instance does while nobody waits for it: load and serve a small worker of its own.

A forked process shares its memory with the zygote until it writes, and Python writes to whatever it
uses: half the time of loading a script would go into copying such pages. They are copied here
instead, in a process that waits for code. Nothing else is left of it.
"""

from __future__ import annotations

import importlib
import select
import sys
from types import ModuleType

from sandbox.runtime import loader, samples, vendored, warmup

SOON_MS = 50
_NAME = "rehearsal"
_SOURCE = """
import json
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("")
"""


def while_waiting(wire_fd: int) -> None:
    """Rehearse, unless something comes soon: then somebody is waiting."""
    poll = select.poll()
    poll.register(wire_fd, select.POLLIN)
    if not poll.poll(SOON_MS):
        rehearse()


def rehearse() -> None:
    """Load and serve a worker without a trace."""
    importlib.invalidate_caches()
    vendored.platform.give_way(())
    module = ModuleType(_NAME)
    sys.modules[_NAME] = module
    try:
        exec(compile(_SOURCE, _NAME, "exec"), module.__dict__)  # noqa: S102 - our own
        loader.find_adapter(module, None)
    finally:
        del sys.modules[_NAME]
    warmup.exercise("the runtime", samples.worker)
