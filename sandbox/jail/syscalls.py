"""The system calls that the standard library lacks. The only file of the package that uses ctypes.

Every function raises OSError, with the call's name, when the kernel refuses.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Collection
from typing import Final

from sandbox.jail.syscall_numbers import NUMBERS

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_NUMBERS: Final = NUMBERS.get(platform.machine(), {})

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MNT_DETACH: Final = 2

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_M_ARENA_MAX: Final = -8
_LARGEST_HOLE: Final = 96 << 10
"""Larger blocks are mapped on their own, mallopt(3)."""
_FINE_HOLE: Final = 2 << 10
_SMALLEST_HOLE: Final = 24
_HEAP_BYTES: Final = 4 << 30
"""No heap is larger; mappings are further away from its top."""
_SECCOMP_SET_MODE_FILTER: Final = 1
_CAPABILITY_VERSION_3: Final = 0x20080522
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(name: str, *arguments: int) -> int:
    """Make a raw system call; pointers go as addresses of buffers that the caller keeps."""
    number = _NUMBERS.get(name)
    if number is None:
        raise OSError(38, f"{name}: unknown on {platform.machine()}")
    longs = [ctypes.c_long(argument) for argument in arguments]
    return _check(int(_libc.syscall(ctypes.c_long(number), *longs)), name)


def prctl(option: int, value: int = 0) -> int:
    """Set one attribute of this process, prctl(2)."""
    zero = ctypes.c_ulong(0)
    return _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave the shared namespaces named by CLONE_NEW* flags, unshare(2)."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace behind a descriptor, setns(2)."""
    _check(_libc.setns(fd, ctypes.c_int(flags)), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount or remount, mount(2)."""
    result = _libc.mount(
        os.fsencode(source) if source is not None else None,
        os.fsencode(target),
        kind.encode() if kind is not None else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, f"mount {source or kind or ''} on {target}")


def umount(target: str, flags: int = 0) -> None:
    """Unmount, umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make another mount the root of this mount namespace, pivot_root(2)."""
    new = ctypes.create_string_buffer(os.fsencode(new_root))
    old = ctypes.create_string_buffer(os.fsencode(put_old))
    _call("pivot_root", ctypes.addressof(new), ctypes.addressof(old))


def clear_capabilities() -> None:
    """Empty the permitted, effective and inheritable sets of this thread, capset(2)."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    sets = ctypes.create_string_buffer(24)
    _call("capset", ctypes.addressof(header), ctypes.addressof(sets))


def share_one_heap() -> None:
    """Serve all threads from one heap, instead of reserving 64 MiB for each, mallopt(3)."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:  # Not every C library has it, or needs it.
        mallopt(_M_ARENA_MAX, 1)


class _HeapInfo(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks")),
        ("keepcost", ctypes.c_size_t),
    )


def fill_heap() -> None:
    """Take for good what is free below the top of the heap, mallinfo2(3)."""
    info, malloc, free = (getattr(_libc, name, None) for name in ("mallinfo2", "malloc", "free"))
    if info is None or malloc is None or free is None:  # Not glibc, or one before 2.33.
        return
    info.restype = _HeapInfo
    malloc.restype = _libc.sbrk.restype = ctypes.c_void_p
    size = _LARGEST_HOLE
    while size >= _SMALLEST_HOLE:
        while True:
            top = _libc.sbrk(ctypes.c_ssize_t(0)) - info().keepcost
            block = malloc(ctypes.c_size_t(size))
            if block is None or not top - _HEAP_BYTES < block < top:
                free(ctypes.c_void_p(block))
                break
        size = size * 3 // 4 if size > _FINE_HOLE else size - 16


def close_range(first: int, last: int) -> None:
    """Close every descriptor from first to last, close_range(2)."""
    _call("close_range", first, last, 0)


def join_session_keyring() -> None:
    """Replace the inherited session keyring by a new, empty one, keyctl(2)."""
    _call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0)


def load_seccomp(program: bytes) -> None:
    """Install a filter (an array of struct sock_filter) on this thread for good, seccomp(2)."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    filter_ = ctypes.create_string_buffer(header, len(header))
    _call("seccomp", _SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(filter_))


def landlock_abi() -> int:
    """Return the Landlock ABI version of this kernel; 0 when it has none."""
    try:
        return _call("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def landlock_create_ruleset(attributes: bytes) -> int:
    """Make a ruleset from a packed struct landlock_ruleset_attr; return its descriptor."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _call("landlock_create_ruleset", ctypes.addressof(buffer), len(attributes), 0)


def landlock_allow_beneath(ruleset: int, path_fd: int, access: int) -> None:
    """Grant access rights to the file hierarchy behind a descriptor."""
    packed = struct.pack("=Qi", access, path_fd)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    _call("landlock_add_rule", ruleset, _LANDLOCK_RULE_PATH_BENEATH, ctypes.addressof(buffer), 0)


def landlock_restrict_self(ruleset: int) -> None:
    """Enforce a ruleset on this thread for good."""
    _call("landlock_restrict_self", ruleset, 0)


SCHED_RESET_ON_FORK: Final = 1


def sched_setattr(thread_id: int, nice: int, slice_ns: int, flags: int = 0) -> None:
    """Set nice value and time slice of a SCHED_OTHER thread, sched_setattr(2)."""
    packed = _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, flags, nice, 0, slice_ns, 0, 0)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    _call("sched_setattr", thread_id, ctypes.addressof(buffer), 0)


def sched_setaffinity(cores: Collection[int]) -> None:
    """Have this thread run on those cores only, and return once it does, sched_setaffinity(2).

    Other threads run meanwhile, which they do not while that of ``os`` waits.
    """
    mask = sum(1 << core for core in cores)
    size = (max(cores) // 64 + 1) * 8
    buffer = ctypes.create_string_buffer(mask.to_bytes(size, sys.byteorder), size)
    _call("sched_setaffinity", 0, size, ctypes.addressof(buffer))
