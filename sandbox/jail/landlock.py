"""Landlock: which files the process may touch, decided by the kernel whatever the mounts say.

Stops: listing, reading or writing anything outside the named hierarchies, executing any file, TCP
(ABI 4), signals and abstract sockets leaving the jail (ABI 6). Does not stop: stat and chdir on any
path, UDP and other socket families, use of descriptors already open.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import Final

from sandbox.jail import syscalls

# Rights on files, include/uapi/linux/landlock.h.
EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
MAKE_CHAR: Final = 1 << 6
MAKE_SOCK: Final = 1 << 9
MAKE_BLOCK: Final = 1 << 11
TRUNCATE: Final = 1 << 14
IOCTL_DEV: Final = 1 << 15

_RIGHTS_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_NEWEST_RIGHTS: Final = 16
_TCP: Final = 0b11
_SCOPES: Final = 0b11
READ: Final = READ_FILE | READ_DIR
_NEVER: Final = EXECUTE | MAKE_CHAR | MAKE_SOCK | MAKE_BLOCK | IOCTL_DEV


def handled_rights(abi: int) -> int:
    """Return every right on files that this ABI knows; what is not granted is denied."""
    return (1 << _RIGHTS_BY_ABI.get(abi, _NEWEST_RIGHTS)) - 1


def attributes(abi: int) -> bytes:
    """Return the packed struct landlock_ruleset_attr that handles all this ABI can."""
    fields = [handled_rights(abi)]
    if abi >= 4:
        fields.append(_TCP)
    if abi >= 6:
        fields.append(_SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)


def restrict(
    abi: int, readable: Iterable[str], writable: Iterable[str], devices: Iterable[str]
) -> None:
    """Confine this thread: hierarchies to read, to read and write, and device files to use."""
    handled = handled_rights(abi)
    ruleset = syscalls.landlock_create_ruleset(attributes(abi))
    try:
        grants = (
            (readable, READ),
            (writable, handled & ~_NEVER),
            (devices, READ_FILE | WRITE_FILE | (TRUNCATE & handled)),
        )
        for paths, access in grants:
            for path in paths:
                _allow(ruleset, path, access)
        syscalls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        syscalls.landlock_allow_beneath(ruleset, fd, access)
    finally:
        os.close(fd)
