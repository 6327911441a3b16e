"""The soft CPU limit: the gateway's SIGXCPU becomes an exception in the tenant's own frame.

The gateway measures, sends the signal at the limit and again each millisecond, and kills shortly
after; nothing here is the authority. The exception is raised only where it cannot tear our own
bookkeeping apart: with a tenant's frame on the stack and none of the runtime's above it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import selectors
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

from sandbox.protocol import FrameType as Kind
from sandbox.protocol import encode
from sandbox.runtime import threads
from sandbox.runtime.channel import Channel
from sandbox.runtime.context import Invocation, current
from sandbox.runtime.trace import CpuLimitExceeded
from sandbox.runtime.wireloop import WireSelector

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
_UNDISTURBED = 0.8
"""Of the time after which another thread may ask for the interpreter."""
_WAITING = {WireSelector.select.__code__, Channel.next_frame.__code__}
_WAITING_FILES = {threading.__file__, selectors.__file__}
"""In whose functions threads wait for each other, and loops of the tenant's own for them."""


class CpuLimit:
    """The handler of SIGXCPU."""

    def __init__(self, app_prefix: str) -> None:
        self.loading = False
        self.tripped_while_loading = False
        self._handling = False
        self.server: Server | None = None
        self._app_prefix = app_prefix
        self._vendored = os.path.join(app_prefix, "python_modules", "")
        self._asked_at = -1.0
        self._builders: dict[bytes, int] = {}
        self._signals = 0
        self._built = 0
        self._own = 0
        self._look = threads.Look()

    def install(self) -> None:
        """Take the signal over from its default, which ends the process."""
        sys.setswitchinterval(threads.SWITCH_SECONDS)
        _signal.signal(_signal.SIGXCPU, self._on_signal)

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        if self._handling:
            return
        self._handling = True
        try:
            meant = self._is_meant(frame)
        finally:
            self._handling = False
        if meant:
            raise CpuLimitExceeded

    def _is_meant(self, frame: FrameType | None) -> bool:
        """Whether it is to be raised here; else it is somewhere else, or not now."""
        server = self.server
        if self.loading:
            self.tripped_while_loading = True
        elif server is None or not server.invocations:
            return False
        else:
            running = current.get(None)
            if running is not None and running.finished:
                running = None
            if self._stop_threads(server, running, frame):
                return False
            if running is None or self._asks(server, running, frame):
                return False
            running.tripped = True
        return not (server and server.channel.sending) and self._interruptible(frame)

    def _stop_threads(
        self, server: Server, running: Invocation | None, main: FrameType | None
    ) -> bool:
        """Raise in the threads that burn; False when it is the main one, or there is no other."""
        before = time.perf_counter() + sys.getswitchinterval() * _UNDISTURBED
        frames = sys._current_frames()
        frames.pop(threading.get_ident(), None)
        if not frames:
            return False
        if running is not None and not (_waits(main) or threads.works_for(running, frames)):
            return False
        look = self._look
        look.take(frames)
        if not look.told:
            return True
        if not look.at_threads:
            return False
        only = running
        if only is None and len(server.invocations) == 1:
            (only,) = server.invocations.values()
        burning = look.burning(frames, only)
        if not burning and only is not None:
            # Seen is only that there is one it can be for.
            only.tripped = True
        for ident, whose in burning.items():
            if self._asks(server, whose, frames[ident]):
                break
            whose.tripped = True
            if self._interruptible(frames[ident]):
                threads.aim(ident, before)
        look.end()
        return bool(burning)

    def _asks(self, server: Server, running: Invocation, frame: FrameType | None) -> bool:
        """Ask for more CPU time while an invocation waits for what its path builds once.

        True while the answer may still come.
        """
        if running.tripped or server.channel.sending or not self._may_build(running):
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

    def _interruptible(self, frame: FrameType | None) -> bool:
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(self._app_prefix) or threads.is_entry(frame):
                return True
            if path.startswith(_RUNTIME_DIR) and not path.startswith(_TENANT_SIDE):
                return False
            frame = frame.f_back
        return False


def _waits(frame: FrameType | None) -> bool:
    """Whether the main thread most likely waits for something, where synchronous code does."""
    if frame is None:
        return False
    code = frame.f_code
    return code in _WAITING or code.co_filename in _WAITING_FILES


def _is_package(path: str) -> bool:
    return any(folder in path for folder in _PACKAGES)
