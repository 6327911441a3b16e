"""What an instance does while nobody waits for it: load and serve a small worker of its own.

A forked process shares its memory with the zygote until it writes, and Python writes to whatever it
uses: half the time of loading a script would go into copying such pages. They are copied here
instead, in a process that waits for code. Nothing else is left of it.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from types import ModuleType

from sandbox.payloads import Init, encode_struct
from sandbox.protocol import END, FrameType, encode
from sandbox.runtime import bytecode, loader, samples, vendored, warmup
from sandbox.runtime.limits import CpuLimit

SOON_MS = 50
_ROUNDS = 8
"""After as many the interpreter has adapted its code to what it sees, and writes to it no more."""
_NAME = "rehearsal"
_SAID = warmup.conversation([("GET", "/", "", b"")])
_SAID_OFTEN = warmup.conversation([("GET", "/", "", b"")] * 16)
_SOURCE = """
import json
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("")
"""
_MAIN = "main.py"


def whole_lives(app_dir: str, packages: Sequence[str]) -> dict[str, bytes]:
    """Encode all that the gateway says to instances that live shortly in ``app_dir``.

    The first one is of a plain script, the others use one of the packages each.
    """
    scripts = {_NAME: _SOURCE, **dict(warmup.wanted(samples.SCRIPTS, packages))}
    return {name: _whole_life(app_dir, script.encode()) for name, script in scripts.items()}


def _whole_life(app_dir: str, source: bytes) -> bytes:
    code = bytecode.compiled(source, os.path.join(app_dir, _MAIN))
    init = Init([(_MAIN, len(source))], _MAIN, None, {}, _NAME, _NAME, bytecode=[len(code)])
    content = encode(FrameType.BODY, 0, code + source, END)
    return encode_struct(FrameType.INIT, 0, init) + content + _SAID


def while_waiting(wire_fd: int) -> None:
    """Rehearse, unless something comes soon: then somebody is waiting."""
    poll = select.poll()
    poll.register(wire_fd, select.POLLIN)
    if not poll.poll(SOON_MS):
        rehearse()


def settle(packages: Sequence[str]) -> None:
    """Have the interpreter's caches hold what instances need, and nothing that has to make way.

    Called by the zygote when everything is loaded: a child that replaces an entry of the cache of
    methods writes to the page of the name that was there before.
    """
    clear = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    clear()
    warmup.exercise_all(packages)
    for _ in range(_ROUNDS):
        rehearse()


def repeat() -> None:
    """Serve the same request often, which shows what code every request needs."""
    warmup.exercise("the runtime", samples.worker, _SAID_OFTEN)


def rehearse() -> None:
    """Load and serve a worker without a trace."""
    vendored.platform.give_way(())
    module = ModuleType(_NAME)
    sys.modules[_NAME] = module
    try:
        exec(compile(_SOURCE, _NAME, "exec"), module.__dict__)  # noqa: S102 - our own
        adapter = loader.find_adapter(module, None)
    finally:
        del sys.modules[_NAME]
    CpuLimit(_NAME)
    # Not a sample: to make another class would take memory that no script needs.
    warmup.exercise("the runtime", lambda: adapter, _SAID)
