"""What the instances of a node share, and what one of them could learn or change through it."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from sandbox import Supervisor, SupervisorSettings

from .conftest import PACKAGES
from .hostile import Inmate, run
from .test_jail_holds import needs_scratch

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom"]
TRY = """
import errno, os
def denied(act, *args):
    try:
        result = act(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return f"REACHED {result!r}"
"""


@pytest.mark.parametrize("device", DEVICES)
async def test_the_times_of_the_hosts_devices_cannot_be_set(
    supervisor: Supervisor, device: str
) -> None:
    code = f"""{TRY}
def attempt(): return [
    denied(os.utime, {device!r}),
    denied(os.utime, os.open({device!r}, os.O_RDWR)),
    denied(os.chmod, {device!r}, 0o666),
]
"""
    before = os.stat(device).st_mtime_ns
    assert set(await run(supervisor, code)) <= {"EROFS", "EPERM", "EACCES"}
    assert os.stat(device).st_mtime_ns == before


@pytest.mark.parametrize("device", DEVICES)
async def test_devices_can_be_used_all_the_same(supervisor: Supervisor, device: str) -> None:
    code = f"""
def attempt():
    with open({device!r}, "r+b", buffering=0) as file:
        return [file.write(b"four"), len(file.read(4))]
"""
    assert await run(supervisor, code) == [4, 0 if device == "/dev/null" else 4]


@pytest.mark.parametrize("path", ["/", os.curdir, os.__file__])
async def test_nobody_is_told_how_full_the_disk_is(supervisor: Supervisor, path: str) -> None:
    code = f"{TRY}\ndef attempt(): return denied(os.statvfs, {path!r})"
    assert await run(supervisor, code) == "ENOSYS"


async def test_flushing_and_evicting_shared_files_does_nothing(supervisor: Supervisor) -> None:
    """Both say that they were done: honest programs call them on files of their own."""
    code = """
import os
from itertools import pairwise
def attempt():
    fd = os.open(os.__file__, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    # A call that reaches the kernel's file system is refused on a pipe.
    reader, writer = os.pipe()
    os.fsync(fd), os.fdatasync(fd), os.fsync(writer), os.fdatasync(writer)
    return "done"
"""
    assert await run(supervisor, code) == "done"


async def test_scratch_is_as_good_as_a_disk_to_honest_programs(supervisor: Supervisor) -> None:
    needs_scratch(supervisor)
    code = """
import os, shutil, sqlite3, tempfile
def attempt():
    with sqlite3.connect("/tmp/data") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table t (x)")
        database.execute("insert into t values (9)")
    with tempfile.NamedTemporaryFile(dir="/tmp", delete=False) as file:
        file.write(b"x" * 100_000)
        file.flush(), os.fsync(file.fileno())
    shutil.copytree("/app", "/tmp/app")
    shutil.copy2(file.name, "/tmp/copy")
    shutil.move("/tmp/copy", "/tmp/moved")
    return [database.execute("select x from t").fetchone()[0], os.stat("/tmp/moved").st_size]
"""
    assert await run(supervisor, code) == [9, 100_000]


@pytest.mark.parametrize("advice", [12, 13, 100, 101, 20, 21])
async def test_pages_are_not_merged_evicted_or_poisoned(
    supervisor: Supervisor, advice: int
) -> None:
    """MADV_MERGEABLE lets one instance find out by timing what another has in memory."""
    code = f"""{TRY}
import ctypes, mmap
def attempt():
    page = mmap.mmap(-1, mmap.PAGESIZE)
    return denied(page.madvise, {advice})
"""
    assert await run(supervisor, code) == "EPERM"


async def test_user_ids_do_not_count_the_instances_of_others(supervisor: Supervisor) -> None:
    if os.geteuid():
        pytest.skip("an ordinary user has one id to give")
    code = "import os\ndef attempt(): return os.getuid()"
    ids = [await run(supervisor, code) for _ in range(6)]
    steps = {later - earlier for earlier, later in pairwise(ids)}
    assert len(steps) > 1
    assert not steps <= {-2, -1, 1, 2}


FRAMES = """
import gc, sys
def attempt():
    gc.unfreeze()
    frame, found = sys._getframe(), []
    while frame is not None:
        found += frame.f_locals.values()
        frame = frame.f_back
    servers = [o for o in [*found, *gc.get_objects()] if type(o).__name__ == "ForkServer"]
    births = {id(o) for o in gc.get_objects() if type(o).__name__ == "Birth"}
    return {"living": [len(o._living) for o in servers], "births": len(births)}
"""


async def test_no_frame_above_tells_of_other_instances(supervisor: Supervisor) -> None:
    others = [await Inmate.start(supervisor, FRAMES) for _ in range(3)]
    try:
        seen = await run(supervisor, FRAMES)
    finally:
        for other in others:
            other.sandbox.close()
    assert set(seen["living"]) <= {0}
    assert seen["births"] <= 1


LAYOUT = """
import ctypes, re
LAST = (1 << 47) - (1 << 16)
def mapped(start, end):
    # A mapping at a fixed address says EEXIST when any page of it is taken.
    ctypes.set_errno(0)
    address = mmap(start, end - start, 0, 0x104022, -1, 0)
    if address == start:
        munmap(start, end - start)
    return ctypes.get_errno() == 17
def regions(start, end):
    ranges, found = [(start, end)], []
    while ranges:
        start, end = ranges.pop()
        if not mapped(start, end):
            continue
        if end - start <= 1 << 16:
            found.append(start)
        else:
            middle = (start + end) // 2 & ~0xFFFF
            ranges += [(start, middle), (middle, end)]
    return found
libc = ctypes.CDLL(None, use_errno=True)
mmap, munmap = libc.mmap, libc.munmap
mmap.restype = ctypes.c_void_p
mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
"""
"""Finds all memory of the process, without /proc."""
SCAN = f"""{LAYOUT}
import os
from itertools import pairwise
INVERT = bytes(255 - byte for byte in range(256))
def attempt(env):
    wanted, own = bytes.fromhex(env.WANTED), bytes.fromhex(env.OWN)
    reader, writer = os.pipe()
    seen, hits, found_own = 0, 0, False
    for region in regions(1 << 16, LAST):
        for address in range(region, region + (1 << 16), 4096):
            if libc.write(writer, address, 4096) == 4096:
                page = os.read(reader, 4096).translate(INVERT)
                seen += 4096
                hits += page.count(wanted)
                found_own = found_own or own in page
    return {{"seen": seen, "hits": hits, "own": found_own, "kept": env.KEPT[:3]}}
"""
"""Is told inverted what to look for, and looks for it inverted, or it would find itself."""


async def test_all_memory_of_an_instance_holds_no_word_of_platform_or_neighbour(
    jail_level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary is in this process, in its environment, and in code and variables of a neighbour
    that was started before."""
    canary, own = (f"{kind}-{os.urandom(16).hex()}" for kind in ("canary", "own"))
    monkeypatch.setenv("WAYPOST_CANARY", canary)
    inverted = [bytes(255 - byte for byte in text.encode()).hex() for text in (canary, own)]
    supervisor = Supervisor(SupervisorSettings(packages=PACKAGES, minimum_level=jail_level))
    await supervisor.start()
    try:
        source = f"KEPT = {canary!r}\ndef attempt(): return KEPT"
        neighbour = await Inmate.start(supervisor, source, {"SECRET": canary})
        assert await neighbour.attempt() == canary
        env = {"WANTED": inverted[0], "OWN": inverted[1], "KEPT": own}
        seen = await run(supervisor, SCAN, env)
        neighbour.sandbox.close()
    finally:
        await supervisor.close()
    assert seen["own"], "the scan does not even find what is there"
    assert seen["seen"] > 20 << 20
    assert seen["hits"] == 0


async def test_the_working_directory_is_no_way_into_the_bundle(supervisor: Supervisor) -> None:
    needs_scratch(supervisor)
    code = f"{TRY}\ndef attempt(): return [os.getcwd(), denied(os.open, 'main.py', os.O_RDWR)]"
    assert await run(supervisor, code) == ["/app", "EROFS"]
