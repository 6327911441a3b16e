"""Whose a process is: of which node of which manager, and whether another node serves by now.

A follower whose leader died goes on serving until the manager has another node that does: what is
in flight is not lost, and nobody waits. Meanwhile nothing changes that it would have to be told
of, for the control API is the leader's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import msgspec

LOOK_SECONDS: Final = 0.05
"""How often an orphan looks whether another node serves."""
_WORD: Final = 8


class Lineage(msgspec.Struct, frozen=True):
    """What the manager gave to a node, and the leader to its followers."""

    manager_pid: int
    generation: int
    """Of the node."""
    serving: int
    """Descriptor of the memory where the manager keeps which generation serves."""

    @property
    def owner(self) -> str:
        """Name of the manager, by which its nodes know each other."""
        return f"manager-{self.manager_pid}"

    def newest(self) -> int:
        """The generation that serves now; 0 when none has yet."""
        return int.from_bytes(os.pread(self.serving, _WORD, 0), "little")

    def end_with_manager(self) -> None:
        """Have this process killed when the manager is gone. Needs a running event loop."""
        try:
            gone = os.pidfd_open(self.manager_pid)
        except ProcessLookupError:
            _kill()
        else:
            asyncio.get_running_loop().add_reader(gone, _kill)

    async def outlive(self, leader_pid: int) -> None:
        """Return when this process is to end because its leader is gone, having told it so.

        It retires when another node serves. It ends at once when its own never did: others serve
        then that it knows nothing of.
        """
        # Its sockets are closed before it is gone. Looked at again and again: who wakes nobody is
        # dead, or stores a number.
        while os.getppid() == leader_pid:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        while self.newest() == self.generation:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        newest = self.newest()
        os.kill(os.getpid(), signal.SIGUSR2 if newest > self.generation else signal.SIGTERM)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
