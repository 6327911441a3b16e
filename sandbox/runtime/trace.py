"""Exceptions as the tenant should see them: their own frames, paths as in their bundle."""

from __future__ import annotations

import os
import time
import traceback
from types import GetSetDescriptorType, TracebackType

from sandbox.payloads import ExceptionRecord

MAX_STACK = 16 * 1024
MAX_MESSAGE = 4 * 1024
MAX_BRIEF_FRAMES = 40
_RUNTIME_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STDLIB_DIR = os.path.dirname(os.__file__) + os.sep
_ARGS: GetSetDescriptorType = BaseException.__dict__["args"]
_EXECUTABLE = "write+execute memory"
_SITE_PACKAGES = os.sep + "site-packages" + os.sep


class CpuLimitExceeded(BaseException):
    """The invocation used up its CPU time; no ``except Exception`` swallows it."""

    def __init__(self, message: str = "Python Worker exceeded CPU time limit") -> None:
        super().__init__(message)


def clean(text: str, limit: int) -> str:
    """Return text that always encodes, cut in the middle when longer than ``limit`` bytes."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > limit:
        head = limit // 4
        tail = limit - head - 16
        data = data[:head] + b"\n  [...]\n" + data[-tail:]
    return data.decode("utf-8", "ignore")


class Tracer:
    """Formats exceptions relative to the directory of the tenant's modules."""

    def __init__(self, app_dir: str) -> None:
        self.app_prefix = os.path.join(os.path.realpath(app_dir), "")

    def relative(self, path: str) -> str:
        """Name a file as the tenant knows it."""
        if path.startswith(self.app_prefix):
            return path[len(self.app_prefix) :]
        if _SITE_PACKAGES in path:
            return path.rpartition(_SITE_PACKAGES)[2]
        if path.startswith(_STDLIB_DIR):
            return path[len(_STDLIB_DIR) :]
        return path

    def record(self, error: BaseException, kind: str | None = None) -> ExceptionRecord:
        """Describe an uncaught exception for the wire; never raises, even without memory."""
        kind = kind or kind_of(error)
        name, message, stack = type(error).__name__, "", ""
        try:
            if isinstance(error, MemoryError):
                traceback.clear_frames(error.__traceback__)
            message = self.message(error)
            # Each millisecond spent here is on the account of an invocation that has none left.
            stack = self.brief_stack(error) if kind == "cpu" else self.stack(error)
        except BaseException as second:  # a hostile __str__, or no memory even for this
            stack = f"{name} (its traceback could not be written: {type(second).__name__})\n"
        return ExceptionRecord(kind, clean(name, 256), message, stack, int(time.time() * 1000))

    def message(self, error: BaseException) -> str:
        """Return the exception's own words, capped."""
        return clean(str(error), MAX_MESSAGE)

    def stack(self, error: BaseException) -> str:
        """Format the traceback from the tenant's first frame on, with its causes."""
        described = traceback.TracebackException.from_exception(error, compact=True)
        self._filter(described, depth=0)
        return clean("".join(described.format()), MAX_STACK)

    def brief_stack(self, error: BaseException) -> str:
        """Format the traceback by hand, a tenth of the time that the full form takes."""
        lines = ["Traceback (most recent call last):\n"]
        step: TracebackType | None = error.__traceback__
        while step is not None and len(lines) < MAX_BRIEF_FRAMES:
            code, number = step.tb_frame.f_code, step.tb_lineno
            path = code.co_filename
            if path.startswith(self.app_prefix):
                name = self.relative(path)
                lines.append(f'  File "{name}", line {number}, in {code.co_name}\n')
                lines.append(f"    {source_line(path, number)}\n")
            step = step.tb_next
        lines.append(f"{type(error).__name__}: {self.message(error)}\n")
        return clean("".join(lines), MAX_STACK)

    def location(self, error: BaseException) -> tuple[str | None, int | None]:
        """Return the innermost file and line of the tenant's, from the bundle's root."""
        if isinstance(error, SyntaxError) and (error.filename or "").startswith(self.app_prefix):
            return self.relative(error.filename or ""), error.lineno
        found: tuple[str | None, int | None] = (None, None)
        step: TracebackType | None = error.__traceback__
        while step is not None:
            path = step.tb_frame.f_code.co_filename
            if path.startswith(self.app_prefix):
                found = (self.relative(path), step.tb_lineno)
            step = step.tb_next
        return found

    def _filter(self, described: traceback.TracebackException, depth: int) -> None:
        frames = list(described.stack)
        first = next(
            (i for i, f in enumerate(frames) if f.filename.startswith(self.app_prefix)), len(frames)
        )
        kept = [frame for frame in frames[first:] if not frame.filename.startswith(_RUNTIME_DIR)]
        for frame in kept:
            frame.line  # noqa: B018 - reads the source line while the file has its real name
            frame.filename = self.relative(frame.filename)
        described.stack = traceback.StackSummary.from_list(kept)
        filename = getattr(described, "filename", None)
        if filename:
            described.filename = self.relative(filename)
        if depth >= 8:
            described.__cause__ = described.__context__ = None
            return
        for linked in (described.__cause__, described.__context__, *(described.exceptions or ())):
            if linked is not None:
                self._filter(linked, depth + 1)


def source_line(path: str, number: int) -> str:
    """Return a line of a file, stripped; empty when it cannot be had."""
    try:
        with open(path, "rb") as file:
            for count, line in enumerate(file, 1):
                if count == number:
                    return line.decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return ""


def kind_of(error: BaseException) -> str:
    """Sort an uncaught exception into the kinds the protocol knows."""
    if isinstance(error, CpuLimitExceeded):
        return "cpu"
    return "memory" if is_out_of_memory(error) else "exception"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, and not the executable kind that there is none of (cffi wants it)."""
    if not isinstance(error, MemoryError):
        return False
    # Not its own words, which may be a hostile class's.
    words = _ARGS.__get__(error)
    return not any(type(word) is str and _EXECUTABLE in word for word in words)
