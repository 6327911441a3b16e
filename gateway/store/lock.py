"""One node for one data directory, or the nodes of one manager while one follows another.

Each node holds a shared lock on ``node.lock``, which says whose they are. The kernel lets go of it
when a node ends, however it ends; the file that is left behind means nothing.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError

FILE: Final = "node.lock"
_LONGEST: Final = 200


class DataDirTaken(ConfigError):
    """Another node uses this data directory."""


class NodeLock:
    """The hold of one node on its data directory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path, manager: str = "") -> NodeLock:
        """Take the directory; beside the nodes of the same ``manager`` only.

        Raises DataDirTaken.
        """
        owner = manager or uuid.uuid4().hex
        guard = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Nobody else looks or writes meanwhile.
            fcntl.flock(guard, fcntl.LOCK_EX)
            descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _claim(folder, descriptor, owner)
            except BaseException:
                os.close(descriptor)
                raise
        finally:
            os.close(guard)
        return cls(descriptor)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def _claim(folder: Path, descriptor: int, owner: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, _LONGEST, 0).decode("ascii", "replace")
        pid, _, theirs = text.strip().partition(" ")
        if theirs != owner:
            raise DataDirTaken(
                f"another node (process {pid}) uses the data directory {folder}: stop it first, or"
                " choose another directory with --data-dir"
            ) from None
    else:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {owner}\n".encode("ascii", "replace"), 0)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
