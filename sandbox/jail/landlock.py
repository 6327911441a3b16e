"""Landlock: which files the process may touch, decided by the kernel whatever the mounts say.

Stops: listing, reading or writing anything outside the named hierarchies, executing any file, TCP
(ABI 4), signals and abstract sockets leaving the jail (ABI 6). Does not stop: stat and chdir on any
path, UDP and other socket families, use of descriptors already open.
"""

from __future__ import annotations

import os
import stat
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
SCOPES_ABI: Final = 6
"""From this ABI on signals and abstract sockets stay inside the domain."""
_TCP: Final = 0b11
_SCOPES: Final = 0b11
ON_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that mean anything on what is not a directory; the kernel refuses others."""
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
    if abi >= SCOPES_ABI:
        fields.append(_SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)


def restrict(
    abi: int, readable: Iterable[str], writable: Iterable[str], devices: Iterable[str]
) -> None:
    """Confine this thread: hierarchies to read, to read and write, and device files to use."""
    handled = handled_rights(abi)
    grants = (
        (readable, READ),
        (writable, handled & ~_NEVER),
        (devices, _device_rights(abi)),
    )
    enforce(_build(attributes(abi), grants))


def prepare_read_only(abi: int, devices: Iterable[str]) -> int:
    """Return a ruleset that takes away whatever is not reading, but for device files."""
    rights = handled_rights(abi) & ~READ
    return _build(struct.pack("=Q", rights), ((devices, _device_rights(abi) & rights),))


def enforce(ruleset: int) -> None:
    """Confine this thread further, by a ruleset that was prepared, and close that."""
    try:
        syscalls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _device_rights(abi: int) -> int:
    return READ_FILE | WRITE_FILE | (TRUNCATE & handled_rights(abi))


def _build(attributes: bytes, grants: Iterable[tuple[Iterable[str], int]]) -> int:
    ruleset = syscalls.landlock_create_ruleset(attributes)
    try:
        for paths, access in grants:
            for path in paths:
                _allow(ruleset, path, access)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _allow(ruleset: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= ON_FILES
        syscalls.landlock_allow_beneath(ruleset, fd, access)
    finally:
        os.close(fd)
