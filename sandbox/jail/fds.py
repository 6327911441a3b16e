"""Descriptors: what an instance holds open.

Stops: reading or writing anything the gateway or the zygote has open. Leaves 0 (null), 1 and 2 (the
log pipe) and 3 (the wire). Does not stop: opening more, which Landlock and rlimits bound.
"""

from __future__ import annotations

import fcntl
import os
from typing import Final

from sandbox.jail import syscalls

WIRE: Final = 3
"""Descriptor number of the wire inside an instance."""
_ABOVE: Final = 64
_LAST: Final = 0x7FFFFFFF


def arrange(wire: int, log: int, null: int) -> None:
    """Put null on 0, log on 1 and 2, wire on 3 and close everything else."""
    # Moved up first: any of the sources may sit on a number that is about to be overwritten.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for fd in (null, log, log, wire)]
    for target, source in enumerate(high):
        os.dup2(source, target, inheritable=False)
    syscalls.close_range(WIRE + 1, _LAST)
