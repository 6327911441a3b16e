"""The level without namespaces: what one barrier must hold alone, and what is lost."""

from __future__ import annotations

import os
import platform
import signal
from pathlib import Path

import pytest

from sandbox import SandboxSpec, Supervisor
from sandbox.jail.syscall_numbers import NUMBERS
from sandbox.ladder import LANDLOCK
from tests.support.served import descendants, parent, wait_until_gone

from .hostile import Died, Inmate, run
from .test_jail_holds import TRY

_NUMBERS = NUMBERS[platform.machine()]
_FUTEX = _NUMBERS["futex"]
pytestmark = [pytest.mark.anyio, pytest.mark.isolation]


@pytest.fixture
def alone(supervisor: Supervisor) -> Supervisor:
    """A supervisor of that level; ``test_hosts.py`` runs these tests on a host of it."""
    if supervisor.level != LANDLOCK:
        pytest.skip("this host has namespaces")
    return supervisor


async def test_no_other_process_can_be_named(alone: Supervisor) -> None:
    code = f"""{TRY}
import ctypes, socket, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
    return "done"
def attempt(env):
    other = os.getppid()
    word = ctypes.c_int(other)
    return {{
        "signal": denied(os.kill, other, 0),
        "group": denied(os.killpg, env.NEIGHBOUR, 0),
        "thread": denied(call, "tgkill", env.NEIGHBOUR, env.NEIGHBOUR, 0),
        "affinity": denied(os.sched_getaffinity, env.NEIGHBOUR),
        "scheduler": denied(os.sched_getscheduler, env.NEIGHBOUR),
        "group of": denied(os.getpgid, env.NEIGHBOUR),
        "session of": denied(os.getsid, env.NEIGHBOUR),
        "clock": denied(time.clock_gettime_ns, (~env.NEIGHBOUR << 3) | 2),
        "resolution": denied(time.clock_getres, (~env.NEIGHBOUR << 3) | 2),
        "limits": denied(call, "prlimit", env.NEIGHBOUR, 7, None, ctypes.create_string_buffer(16)),
        "lock": denied(call, "syscall", env.FUTEX, ctypes.byref(word), 6, 0, None, None, 0),
        "handle": denied(os.pidfd_open, env.NEIGHBOUR),
        "peer": denied(socket.socket(fileno=os.dup(3)).getsockopt, 1, socket.SO_PEERCRED, 12),
        "peer's handle": denied(socket.socket(fileno=os.dup(3)).getsockopt, 1, 77, 4),
        "directory": denied(os.listdir, f"/proc/{{env.NEIGHBOUR}}"),
        "program": denied(os.readlink, f"/proc/{{env.NEIGHBOUR}}/exe"),
        "memory": denied(os.open, f"/proc/{{env.NEIGHBOUR}}/mem", os.O_RDONLY),
        "status": denied(os.open, f"/proc/{{env.NEIGHBOUR}}/status", os.O_RDONLY),
    }}
"""
    neighbour = await alone.spawn(SandboxSpec())
    try:
        found = await run(alone, code, {"NEIGHBOUR": neighbour.pid, "FUTEX": _FUTEX})
    finally:
        neighbour.close()
    assert {name: said for name, said in found.items() if said not in ("EPERM", "EACCES")} == {}


async def test_itself_can_be_asked_about(alone: Supervisor) -> None:
    code = """
import os, threading, time
def attempt():
    return [len(os.sched_getaffinity(0)) > 0, os.getpgid(os.getpid()) == os.getpid(),
            time.process_time() > 0, time.thread_time() > 0, time.monotonic() > 0]
"""
    assert await run(alone, code) == [True] * 5


async def test_abort_ends_it_and_nobody_else(alone: Supervisor) -> None:
    with pytest.raises(Died) as died:
        await run(alone, "import os\ndef attempt(): os.abort()")
    assert died.value.status.signal == signal.SIGABRT
    assert alone.alive


async def test_nothing_can_be_written(alone: Supervisor) -> None:
    code = f"""{TRY}
import tempfile
def attempt():
    here = os.path.dirname(os.path.abspath(__file__))
    places = [here, os.getcwd(), os.path.dirname(here), "/tmp", "/var/tmp", "/dev/shm", "/run"]
    tries = [denied(os.open, p + "/new", os.O_CREAT | os.O_WRONLY) for p in places]
    tries += [denied(os.mkdir, p + "/new") for p in places]
    tries += [denied(os.open, __file__, os.O_WRONLY), denied(os.truncate, __file__, 0),
              denied(os.unlink, __file__), denied(os.rename, __file__, here + "/other"),
              denied(os.open, here, os.O_TMPFILE | os.O_RDWR)]
    return sorted(set(tries)), denied(tempfile.gettempdir)
"""
    said, scratch = await run(alone, code)
    assert set(said) <= {"EACCES", "EPERM"}
    assert scratch == "ENOENT"


async def test_modes_and_times_cannot_be_set(alone: Supervisor) -> None:
    """Landlock does not ask about them, and an ordinary user owns the gateway's files too."""
    code = f"""{TRY}
def attempt():
    fd = os.open(__file__, os.O_RDONLY)
    return [denied(os.chmod, __file__, 0o777), denied(os.chmod, fd, 0o777),
            denied(os.utime, __file__), denied(os.utime, fd),
            denied(os.chown, __file__, os.getuid(), os.getgid()),
            denied(os.setxattr, __file__, "user.x", b"y")]
"""
    assert set(await run(alone, code)) == {"EPERM"}


async def test_another_instances_bundle_cannot_be_read(alone: Supervisor) -> None:
    where = "import os\ndef attempt(): return os.path.abspath(__file__)"
    victim = await Inmate.start(alone, where)
    try:
        path = await victim.attempt()
        code = f"""{TRY}
def attempt(env):
    app = os.path.dirname(env.PATH)
    return [denied(os.open, env.PATH, os.O_RDONLY), denied(os.open, env.PATH, os.O_WRONLY),
            denied(os.listdir, app), denied(os.listdir, os.path.dirname(app)),
            denied(os.listdir, os.path.dirname(os.path.dirname(app)))]
"""
        assert set(await run(alone, code, {"PATH": path})) == {"EACCES"}
    finally:
        victim.sandbox.close()


async def test_what_sealed_the_bundle_is_closed(alone: Supervisor) -> None:
    code = f"""{TRY}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return "done"
def attempt(env): return [denied(call, number, 0, 0, 0) for number in env.NUMBERS]
"""
    landlock = [_NUMBERS[name] for name in ("landlock_restrict_self", "landlock_create_ruleset")]
    assert set(await run(alone, code, {"NUMBERS": landlock})) == {"EPERM"}
    with pytest.raises(Died) as died:
        await run(alone, code, {"NUMBERS": [_NUMBERS["seccomp"]]})
    assert died.value.status.signal == signal.SIGSYS


async def test_the_bundle_is_removed_with_its_instance(alone: Supervisor) -> None:
    inmate = await Inmate.start(
        alone, "import os\ndef attempt(): return os.path.dirname(os.path.abspath(__file__))"
    )
    folder = Path(await inmate.attempt()).parent
    assert folder.is_dir()
    inmate.sandbox.close()
    await inmate.sandbox.exited
    assert not folder.exists()


@pytest.mark.parametrize("which", ["keeper", "zygote"])
async def test_no_instance_outlives_the_zygote(alone: Supervisor, which: str) -> None:
    inmate = await Inmate.start(
        alone, "import os\ndef attempt(): return os.path.dirname(os.path.abspath(__file__))"
    )
    work = Path(await inmate.attempt()).parents[1]
    zygote = parent(inmate.sandbox.pid)
    keeper = parent(zygote)
    assert parent(keeper) == os.getpid()
    family = descendants(keeper) | {keeper}
    # As a shell's user would end it; the kernel does the same when the gateway dies.
    os.kill(*((keeper, signal.SIGTERM) if which == "keeper" else (zygote, signal.SIGKILL)))
    await inmate.sandbox.exited
    assert wait_until_gone(family, 60) == set()
    assert not work.exists()
    assert await run(alone, "def attempt(): return 1") == 1
    inmate.sandbox.close()


async def test_types_of_files_are_known_without_the_hosts_list(alone: Supervisor) -> None:
    """It exists and cannot be read, which frameworks that serve files would not expect."""
    code = """
import mimetypes
def attempt(): return [mimetypes.guess_type(name)[0] for name in ("a.css", "a.html", "a.zzz")]
"""
    assert await run(alone, code) == ["text/css", "text/html", None]


async def test_what_a_killed_keeper_left_is_removed_by_the_next(alone: Supervisor) -> None:
    where = "import os\ndef attempt(): return os.path.dirname(os.path.abspath(__file__))"
    inmate = await Inmate.start(alone, where)
    work = Path(await inmate.attempt()).parents[1]
    zygote = parent(inmate.sandbox.pid)
    os.kill(parent(zygote), signal.SIGKILL)
    await inmate.sandbox.exited
    inmate.sandbox.close()
    assert wait_until_gone({zygote}, 60) == set()
    second = await Inmate.start(alone, where)
    assert not work.exists()
    third = Supervisor(alone.settings)
    await third.start()
    await third.close()
    # One that is in use stays.
    assert Path(await second.attempt()).parents[1].exists()
    second.sandbox.close()
