"""The soft CPU limit: the gateway's SIGXCPU becomes an exception in the tenant's own frame.

The gateway measures, sends the signal at the limit and again each millisecond, and kills shortly
after; nothing here is the authority. The exception is raised only where it cannot tear our own
bookkeeping apart: with a tenant's frame on the stack and none of the runtime's above it.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from sandbox.runtime.context import current
from sandbox.runtime.trace import CpuLimitExceeded

if TYPE_CHECKING:
    from sandbox.runtime.loop import Server

_RUNTIME_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_TENANT_SIDE = os.path.join(_RUNTIME_DIR, "workers") + os.sep
"""The package tenants import holds no state of ours: it may be interrupted."""


class CpuLimit:
    """The handler of SIGXCPU."""

    def __init__(self, app_prefix: str) -> None:
        self.loading = False
        self.tripped_while_loading = False
        self.server: Server | None = None
        self._app_prefix = app_prefix

    def install(self) -> None:
        """Take the signal over from its default, which ends the process."""
        signal.signal(signal.SIGXCPU, self._on_signal)

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        if not self._trip():
            return
        server = self.server
        if server is not None and server.channel.sending:
            return
        if self._interruptible(frame):
            raise CpuLimitExceeded

    def _trip(self) -> bool:
        """Flag what is running; False when nothing of the tenant's is."""
        if self.loading:
            self.tripped_while_loading = True
            return True
        server = self.server
        if server is None or not server.invocations:
            return False
        running = current.get(None)
        if running is not None and not running.finished:
            running.tripped = True
        elif len(server.invocations) == 1 and threading.active_count() > 1:
            # The event loop is idle: it is a thread that burns, and there is one it can be for.
            for invocation in server.invocations.values():
                invocation.tripped = True
        return True

    def _interruptible(self, frame: FrameType | None) -> bool:
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(self._app_prefix):
                return True
            if path.startswith(_RUNTIME_DIR) and not path.startswith(_TENANT_SIDE):
                return False
            frame = frame.f_back
        return False
