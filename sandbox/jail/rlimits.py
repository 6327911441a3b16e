"""Resource limits: how much one process may take.

Stops: unbounded address space, files, descriptors, threads, core dumps, locked memory, message
queues, and a process that burns CPU for a day unseen. Does not stop: page cache and tmpfs pages,
which count against the size of the mounts; CPU per request, which the gateway meters from outside.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

DESCRIPTORS: Final = 64
THREADS: Final = 128
"""Of one instance; without it thousands fit into its memory, and take the machine's last pid."""
SHARED_THREADS: Final = 4096
"""Of all processes of one user id, the node's included, where instances have no id of their own."""
_STACK_BYTES: Final = 8 << 20
_LIFETIME_CPU_SECONDS: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one instance that depend on its spec."""

    address_space_bytes: int
    file_bytes: int


def apply(limits: Limits) -> None:
    """Lower every limit, soft and hard, so that none can be raised again."""
    for which, value in (
        (resource.RLIMIT_AS, limits.address_space_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_STACK, _STACK_BYTES),
        (resource.RLIMIT_CPU, _LIFETIME_CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, DESCRIPTORS),
        (resource.RLIMIT_NICE, 0),
        (resource.RLIMIT_RTPRIO, 0),
    ):
        _lower(which, value)


def bound_threads(number: int = THREADS) -> None:
    """Lower the number of threads.

    After the user id or user namespace is the instance's own: those around a new namespace are held
    to the limit of the process that made it.
    """
    _lower(resource.RLIMIT_NPROC, number)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
