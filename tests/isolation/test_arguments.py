"""System calls that are allowed, with arguments that are not."""

from __future__ import annotations

import platform

import pytest

from sandbox import Supervisor
from sandbox.jail.syscall_numbers import NUMBERS

from .hostile import run

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

_NUMBERS = NUMBERS[platform.machine()]
CALL = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def attempt(env):
    room = ctypes.create_string_buffer(b"\\x01\\x00/x", 64)
    at = ctypes.addressof(room)
    longs = [ctypes.c_long(at if a == "room" else a) for a in env.ARGUMENTS]
    if libc.syscall(ctypes.c_long(env.NUMBER), *longs) >= 0:
        return "REACHED"
    return errno.errorcode[ctypes.get_errno()]
"""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("prlimit64", [0, 7, "room", 0]),
        ("prlimit64", [2, 7, 0, "room"]),
        ("prctl", [4, 1, 0, 0, 0]),
        ("prctl", [1, 9, 0, 0, 0]),
        ("prctl", [0x59616D61, -1, 0, 0, 0]),
        ("fcntl", [3, 8, 1]),
        ("fcntl", [3, 10, 9]),
        ("fcntl", [1, 1024, 1]),
        ("fcntl", [1, 1031, 1 << 20]),
        ("ioctl", [3, 0x5412, "room"]),
        ("ioctl", [3, 0x8901, "room"]),
        ("ioctl", [3, 0x8905, "room"]),
        ("socketpair", [2, 1, 0, "room"]),
        ("socketpair", [16, 3, 0, "room"]),
        ("sendto", [3, "room", 1, 0, "room", 4]),
        ("sendto", [3, "room", 1, 1, 0, 0]),
        ("sendto", [3, "room", 1, 0x4000000, 0, 0]),
        ("recvfrom", [3, "room", 1, 0x41, 0, 0]),
        ("recvmsg", [3, "room", 0x2040]),
        ("tgkill", [2, 2, 0]),
        ("clone", [17, 0, 0, 0, 0]),
        ("clone", [0x10000000 | 17, 0, 0, 0, 0]),
        ("mmap", [0, 4096, 7, 0x22, -1, 0]),
        ("mmap", [0, 4096, 5, 0x22, -1, 0]),
        ("mmap", [0, 1 << 21, 3, 0x40022, -1, 0]),
        ("mmap", [0, 1 << 30, 3, 0x78040021, -1, 0]),
        ("mprotect", ["room", 4096, 4]),
        ("madvise", ["room", 4096, 12]),
    ],
)
async def test_it_is_refused_by_the_filter(
    supervisor: Supervisor, name: str, arguments: list[int | str]
) -> None:
    env = {"NUMBER": _NUMBERS[name], "ARGUMENTS": arguments}
    assert await run(supervisor, CALL, env) == "EPERM"
