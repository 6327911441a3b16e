"""The soft CPU limit: the gateway's SIGXCPU becomes an exception in the tenant's own frame.

The gateway measures, sends the signal at the limit and again each millisecond, and kills shortly
after; nothing here is the authority. The exception is raised only where it cannot tear our own
bookkeeping apart: with a tenant's frame on the stack and none of the runtime's above it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

from sandbox.protocol import FrameType as Kind
from sandbox.protocol import encode
from sandbox.runtime.context import Invocation, current
from sandbox.runtime.trace import CpuLimitExceeded

if TYPE_CHECKING:
    from sandbox.runtime.loop import Server

_RUNTIME_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_TENANT_SIDE = os.path.join(_RUNTIME_DIR, "workers") + os.sep
"""The package tenants import holds no state of ours: it may be interrupted."""
_IMPORTING = "<frozen importlib._bootstrap>"
_PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_PATHS = 256
"""Of how many paths an instance builds something at their first use."""
_ANSWER_SECONDS = 0.005
"""CPU time within which the gateway answers, and less than it grants."""
_SIGNALS_UNANSWERED = 4


class CpuLimit:
    """The handler of SIGXCPU."""

    def __init__(self, app_prefix: str) -> None:
        self.loading = False
        self.tripped_while_loading = False
        self.server: Server | None = None
        self._app_prefix = app_prefix
        self._vendored = os.path.join(app_prefix, "python_modules", "")
        self._asked_at = -1.0
        self._builders: dict[bytes, int] = {}
        self._signals = 0
        self._built = 0
        self._own = 0

    def install(self) -> None:
        """Take the signal over from its default, which ends the process."""
        signal.signal(signal.SIGXCPU, self._on_signal)

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        if not self.loading and self._asks(frame):
            return
        if not self._trip():
            return
        server = self.server
        if server is not None and server.channel.sending:
            return
        if self._interruptible(frame):
            raise CpuLimitExceeded

    def _asks(self, frame: FrameType | None) -> bool:
        """Ask for more CPU time while an invocation waits for what its path builds once.

        True while the answer may still come.
        """
        server, running = self.server, current.get(None)
        if server is None or running is None or running.finished or running.tripped:
            return False
        if server.channel.sending or not self._may_build(running):
            return False
        now = time.process_time()
        if now - self._asked_at > _ANSWER_SECONDS:
            if self._is_building(frame):
                self._built += 1
            else:
                # A package calls what the script gave it, now and then.
                self._own += 2
            if self._own > self._built:
                return False
            self._asked_at, self._signals = now, 0
            server.channel.send(encode(Kind.EXTEND, running.stream))
        self._signals += 1
        return self._signals <= _SIGNALS_UNANSWERED

    def _may_build(self, running: Invocation) -> bool:
        """Whether no other invocation has asked for what this path builds."""
        builders, path = self._builders, running.head.path
        if path not in builders and len(builders) < _PATHS:
            builders[path] = running.stream
            self._asked_at, self._built, self._own = -1.0, 0, 0
        return builders.get(path) == running.stream

    def _is_building(self, frame: FrameType | None) -> bool:
        """Whether what runs is an import, or a package's code and not the script's own."""
        own = False
        while frame is not None:
            path = frame.f_code.co_filename
            if path == _IMPORTING:
                return True
            if path.startswith(self._app_prefix) and not path.startswith(self._vendored):
                own = True
            elif path.startswith(_RUNTIME_DIR) or own:
                pass  # An answer on its way is whose code gives it.
            elif path.startswith(self._vendored) or _is_package(path):
                return True
            frame = frame.f_back
        return False

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


def _is_package(path: str) -> bool:
    return any(folder in path for folder in _PACKAGES)
