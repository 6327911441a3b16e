"""What hostile code finds inside the jail, on both sides of every barrier."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig

import pytest

from sandbox import SandboxSpec, Supervisor
from sandbox.ladder import LANDLOCK
from sandbox.supervisor import runtime_files
from sandbox.supervisor.verify import read_status

from .conftest import PACKAGES
from .hostile import Died, Inmate, run

pytestmark = [pytest.mark.anyio, pytest.mark.isolation]

TRY = '''
import errno, os
def denied(act, *args):
    """The name of the error, or what was reached."""
    try:
        result = act(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        return type(error).__name__
    return f"REACHED {result!r}"[:300]
'''


def needs_scratch(supervisor: Supervisor) -> None:
    if supervisor.level == LANDLOCK:
        pytest.skip("this level has no scratch, see test_alone.py")


REPO = runtime_files.SANDBOX_DIR.parent


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hostname",
        "/proc/self/environ",
        "/proc/1/status",
        "/sys/kernel/vmcoreinfo",
        "/dev/vda",
        "/dev/tty",
        "/var/log",
        "/root/.bashrc",
        "/bin/sh",
        "/usr/bin/env",
        str(REPO / "pyproject.toml"),
        str(REPO / "gateway" / "__init__.py"),
        str(REPO / "sandbox" / "supervisor" / "supervisor.py"),
        pytest.__file__,
        sys.executable,
    ],
)
async def test_no_foreign_file_is_readable(supervisor: Supervisor, path: str) -> None:
    code = f"def attempt(): return denied(os.open, {path!r}, os.O_RDONLY)"
    assert await run(supervisor, TRY + code) in ("ENOENT", "EACCES", "ENOTDIR")


async def test_the_root_holds_the_runtime_only(supervisor: Supervisor) -> None:
    code = """
def attempt():
    found = []
    for top in ("usr", "lib", "lib64", "opt", "root", "home", "var", "srv", "mnt", "tmp", "work"):
        for directory, _, files in os.walk("/" + top, onerror=lambda error: None):
            if not directory.startswith(tuple(env.SHOWN)):
                found += [os.path.join(directory, name) for name in files]
    return [path for path in found if not path.startswith(tuple(env.SHOWN))][:20]
"""
    stdlib = sysconfig.get_path("stdlib")
    libraries = ["/usr/lib/", "/usr/lib64/", "/lib64/", "/lib/", "/usr/share/zoneinfo/"]
    library = f"{sysconfig.get_config_var('LIBDIR')}/libpython"
    packages = runtime_files.find(PACKAGES).paths
    env = {"SHOWN": [stdlib, library, *libraries, *packages]}
    assert await run(supervisor, TRY + code.replace("attempt()", "attempt(env)"), env) == []


@pytest.mark.parametrize("directory", ["/", "/proc", "/sys", "/etc", "/var", "/boot"])
async def test_directories_of_the_host_cannot_be_listed(
    supervisor: Supervisor, directory: str
) -> None:
    code = f"def attempt(): return denied(os.listdir, {directory!r})"
    assert await run(supervisor, TRY + code) in ("ENOENT", "EACCES")


@pytest.mark.parametrize("name", ["pytest", "httpx", "uvicorn", "gateway", "sandbox.jail.syscalls"])
async def test_what_is_not_listed_cannot_be_imported(supervisor: Supervisor, name: str) -> None:
    code = f"import importlib\ndef attempt(): return denied(importlib.import_module, {name!r})"
    # Where nothing hides a directory, its files are there and cannot be read.
    hidden = {"EACCES"} if supervisor.level == LANDLOCK else set()
    assert await run(supervisor, TRY + code) in {"ModuleNotFoundError", "ImportError", *hidden}


@pytest.mark.parametrize("name", ["starlette.testclient", "anyio", "msgspec", "sqlite3", "ssl"])
async def test_what_is_listed_can_be_imported(supervisor: Supervisor, name: str) -> None:
    name = name.removesuffix(".testclient")
    code = f"import importlib\ndef attempt(): return denied(importlib.import_module, {name!r})"
    assert str(await run(supervisor, TRY + code)).startswith("REACHED")


@pytest.mark.parametrize("family", [1, 2, 10, 16, 17, 38, 40])
@pytest.mark.parametrize("kind", [1, 2, 3])
async def test_no_socket_can_be_made(supervisor: Supervisor, family: int, kind: int) -> None:
    code = f"import _socket\ndef attempt(): return denied(_socket.socket, {family}, {kind})"
    assert await run(supervisor, TRY + code) == "EPERM"


@pytest.mark.parametrize(
    "call",
    [
        "os.fork",
        "os.execv, '/bin/sh', ['sh']",
        "os.posix_spawn, '/bin/sh', ['sh'], {}",
        "os.kill, 1, 9",
        "os.killpg, 0, 9",
        "os.setuid, 0",
        "os.symlink, '/etc', '/tmp/e'",
        "os.mkfifo, '/tmp/fifo'",
        "os.memfd_create, 'm'",
        "os.setpriority, 0, 0, -5",
        "os.sched_setaffinity, 0, [0]",
        "os.pidfd_open, 1",
    ],
)
async def test_processes_and_privilege_are_out_of_reach(supervisor: Supervisor, call: str) -> None:
    try:
        answer = await run(supervisor, f"{TRY}\ndef attempt(): return denied({call})")
    except Died as died:
        answer = died.status.describe()
    assert answer in ("EPERM", "EACCES", "ENOENT", "EINVAL", "was killed by SIGSYS")


@pytest.mark.parametrize(
    "call", ["mount, 0, 0, 0, 0, 0", "unshare, 268435456", "ptrace, 0, 0, 0, 0", "setns, 3, 0"]
)
async def test_what_no_honest_program_calls_kills(supervisor: Supervisor, call: str) -> None:
    name, _, arguments = call.partition(", ")
    code = f"import ctypes\ndef attempt(): return ctypes.CDLL(None).{name}({arguments})"
    with pytest.raises(Died) as died:
        await run(supervisor, code)
    assert died.value.status.signal == signal.SIGSYS


async def test_the_environment_is_empty(supervisor: Supervisor) -> None:
    code = """
import os, sys
def attempt(): return {"environ": dict(os.environ), "argv": sys.argv, "orig": sys.orig_argv}
"""
    found = await run(supervisor, code)
    assert found["environ"] == {}
    assert not [word for word in [*found["argv"], *found["orig"]] if str(REPO) in word]


async def test_only_null_log_and_wire_are_open(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    try:
        if not os.access(f"/proc/{sandbox.pid}/fd/0", os.R_OK):
            pytest.skip("only CAP_SYS_PTRACE may look at the descriptors of such a process")
        descriptors = f"/proc/{sandbox.pid}/fd"
        targets = {int(fd): os.readlink(f"{descriptors}/{fd}") for fd in os.listdir(descriptors)}
    finally:
        sandbox.close()
    # The event loop of the runtime adds its own as soon as HELLO is out.
    own = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]", "socket:")
    assert targets.pop(0) == "/dev/null"
    assert targets.pop(1) == targets.pop(2)
    assert targets.pop(3).startswith("socket:")
    assert [target for target in targets.values() if not target.startswith(own)] == []
    assert len(targets) <= 3


async def test_descriptors_beyond_the_runtime_are_closed(supervisor: Supervisor) -> None:
    code = """
import os, stat
def attempt():
    kinds = {}
    for fd in range(64):
        try: kinds[fd] = stat.S_IFMT(os.fstat(fd).st_mode)
        except OSError: pass
    return {"files": [fd for fd, kind in kinds.items() if kind in (stat.S_IFREG, stat.S_IFDIR)]}
"""
    assert await run(supervisor, code) == {"files": []}


async def test_seen_from_outside_every_barrier_stands(supervisor: Supervisor) -> None:
    sandbox = await supervisor.spawn(SandboxSpec())
    try:
        status = read_status(sandbox.pid)
    finally:
        sandbox.close()
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh")} == {0}
    if supervisor.level != LANDLOCK:
        assert int(status["CapBnd"], 16) == 0
        assert status["NSpid"].split()[-1] == "1"
    if os.geteuid() == 0:
        assert min(map(int, status["Uid"].split())) >= 200_000
        assert status["Groups"] == ""


async def test_two_instances_have_different_user_ids(supervisor: Supervisor) -> None:
    if os.geteuid():
        pytest.skip("an ordinary user has one id to give")
    one, other = await supervisor.spawn(SandboxSpec()), await supervisor.spawn(SandboxSpec())
    try:
        assert read_status(one.pid)["Uid"] != read_status(other.pid)["Uid"]
    finally:
        one.close()
        other.close()


async def test_scratch_is_private_and_empty(supervisor: Supervisor) -> None:
    needs_scratch(supervisor)
    code = """
import os
def attempt():
    seen = [name for name in os.listdir("/tmp") if os.path.isfile("/tmp/" + name)]
    open("/tmp/mine", "w").write("secret")
    return seen
"""
    first = await Inmate.start(supervisor, code)
    try:
        assert await first.attempt() == []
        assert await first.attempt() == ["mine"]
        assert await run(supervisor, code) == []
    finally:
        first.sandbox.close()


async def test_scratch_is_limited(supervisor: Supervisor) -> None:
    needs_scratch(supervisor)
    code = """
def fill():
    with open("/tmp/full", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
def attempt(): return denied(fill)
"""
    assert await run(supervisor, TRY + code) in ("ENOSPC", "EFBIG")


@pytest.mark.parametrize("path", ["/x", "/usr/x", "/dev/x", f"{REPO}/sandbox/runtime/x"])
async def test_the_runtime_cannot_be_written(supervisor: Supervisor, path: str) -> None:
    code = f"def attempt(): return denied(os.open, {path!r}, os.O_CREAT | os.O_WRONLY)"
    assert await run(supervisor, TRY + code) in ("EROFS", "EACCES", "ENOENT")


async def test_written_memory_is_never_executable(supervisor: Supervisor) -> None:
    code = """
import mmap
def attempt(): return denied(mmap.mmap, -1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
"""
    assert await run(supervisor, TRY + code) in ("EPERM", "EACCES")


async def test_memory_is_limited(supervisor: Supervisor) -> None:
    code = "def attempt(): return denied(bytearray, 1 << 30)"
    assert await run(supervisor, TRY + code) == "MemoryError"


async def test_threads_work(supervisor: Supervisor) -> None:
    code = """
import threading
def attempt():
    seen = []
    threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sorted(seen)
"""
    assert await run(supervisor, code) == [0, 1, 2]
