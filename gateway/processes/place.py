"""Which of a node's processes this one is: handed on from the leader at its start."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from typing import Final

import msgspec

from gateway.processes.cells import Cells
from gateway.processes.lineage import Lineage
from gateway.processes.mailbox import Mailboxes
from gateway.sockets import adopt

VARIABLE: Final = "WAYPOST_FOLLOWER"
"""``LEADER_PID:INDEX:PROCESSES:BUS_FD:CELLS_FD:TENANTS_FD:MANAGER_PID:GENERATION:SERVING_FD``, and
after each a colon the descriptors of ``Mailboxes.descriptors``, in a follower's environment."""


class Place(msgspec.Struct, frozen=True):
    """What the leader gave to a follower."""

    leader_pid: int
    bus: socket.socket
    cells: Cells
    tenants: socket.socket
    lineage: Lineage
    boxes: Mailboxes


def written(
    index: int,
    processes: int,
    descriptors: tuple[int, int, int],
    lineage: Lineage,
    boxes: Sequence[int],
) -> str:
    """The variable's value for a child of this process; ``descriptors``: bus, cells, tenants."""
    node = (lineage.manager_pid, lineage.generation, lineage.serving)
    return ":".join(map(str, (os.getpid(), index, processes, *descriptors, *node, *boxes)))


def taken(environment: MutableMapping[str, str]) -> Place | None:
    """This process's place; None when it is no follower. To be called once."""
    given = environment.pop(VARIABLE, None)
    if given is None:
        return None
    parts = [int(part) for part in given.split(":")]
    leader, index, processes, bus, cells, tenants, *node = parts
    lineage = Lineage(*node[:3])
    own_box, *ways = (adopt(descriptor) for descriptor in node[3:])
    for descriptor in (cells, lineage.serving):
        os.set_inheritable(descriptor, False)
    return Place(
        leader,
        adopt(bus),
        Cells(cells, processes=processes, index=index),
        adopt(tenants),
        lineage,
        Mailboxes(index, [own_box], ways),
    )
