"""The zygote's own jail: what all instances of one zygote share."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import mimetypes
import os
import platform
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NoReturn

from sandbox.errors import JailError
from sandbox.jail import credentials, mounts, namespaces, view
from sandbox.supervisor.messages import ZygoteConfig

_LINKS: Final = "import"
_PREFIX: Final = "waypost-bundles-"
_ATTEMPTS: Final = 20
_DATA_DIRS: Final = ("/usr/share/zoneinfo",)
_PACKAGE_DIRS: Final = ("site-packages", "dist-packages")
_NO_HANDLER: Final = frozenset({signal.SIGKILL, signal.SIGSTOP})
_IGNORED: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
Step = tuple[str, Callable[[], None]]


def run_steps(steps: Sequence[Step]) -> None:
    """Run each step in order. Raises JailError naming the first that failed."""
    for name, step in steps:
        try:
            step()
        except Exception as error:
            raise JailError(name, f"{type(error).__name__}: {error}") from error


def library_dirs() -> Iterator[str]:
    """Yield the directories of the host's shared libraries, and the interpreter's own library."""
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    by_triplet = [f"/usr/lib/{triplet}", f"/lib/{triplet}"]
    candidates = [path for path in by_triplet if os.path.isdir(path)] or ["/usr/lib", "/lib"]
    shown: set[str] = set()
    for path in (*candidates, "/usr/lib64", "/lib64"):
        # With a merged /usr the second name is a link, which the root repeats.
        if os.path.isdir(path) and os.path.realpath(path) not in shown:
            shown.add(os.path.realpath(path))
            yield os.path.realpath(path)
    yield from glob.glob(f"{sysconfig.get_config_var('LIBDIR')}/libpython3*.so*")


def find_tree(config: ZygoteConfig, interpreter_path: Sequence[str]) -> mounts.Tree:
    """Put together what the jail shows: interpreter, libraries, packages, runtime."""
    shared = [*interpreter_path, *library_dirs(), *filter(os.path.isdir, _DATA_DIRS)]
    masked = [
        found
        for directory in shared
        for name in _PACKAGE_DIRS
        for pattern in (f"{directory}/{name}", f"{directory}/python3*/{name}")
        for found in glob.glob(pattern)
    ]
    return mounts.Tree((*shared, *config.paths), tuple(sorted(set(masked))))


def enter(config: ZygoteConfig, control_fd: int) -> None:
    """Leave the host's namespaces. Returns in the child that is pid 1; the parent only waits."""
    steps: list[Step] = [("parent death signal", credentials.die_with_parent)]
    if config.user_namespace:
        steps.append(("user namespace", namespaces.enter_user_namespace))
    steps.append(("namespaces", namespaces.enter_outer))
    run_steps(steps)
    child = os.fork()
    if child:
        os.close(control_fd)
        os.waitpid(child, 0)
        os._exit(0)
    run_steps([("parent death signal", credentials.die_with_parent)])


def make_directory(work_dir: str) -> str:
    """Make where bundles go, and remove those of zygotes whose keeper could not do it."""
    parent = work_dir or tempfile.gettempdir()
    for left in glob.glob(f"{glob.escape(parent)}/{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if os.lstat(left).st_uid == os.geteuid():
                _remove_unless_held(left)
    for _ in range(_ATTEMPTS):
        directory = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        if _hold(directory):
            return directory
    raise OSError(errno.ENOENT, "removed each time before it was held", directory)


def _hold(directory: str) -> bool:
    """Hold it, by never closing it, for as long as zygote or keeper live; False when another node
    took it for a leftover before, and removed it."""
    try:
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    # Waits for whoever looks at it now.
    fcntl.flock(held, fcntl.LOCK_EX)
    if os.path.isdir(directory):
        return True
    os.close(held)
    return False


def _remove_unless_held(directory: str) -> None:
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(held)


def enter_alone(control_fd: int, directory: str) -> None:
    """Without namespaces: return in a child. The parent stays to see that nothing outlives it."""
    # Held back until there is somebody to pass it on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    run_steps(
        [
            ("parent death signal", lambda: credentials.die_with_parent(signal.SIGTERM)),
            ("subreaper", credentials.adopt_orphans),
        ]
    )
    child = os.fork()
    if child:
        os.close(control_fd)
        _keep(child, directory)
    run_steps([("parent death signal", credentials.die_with_parent)])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _keep(zygote: int, directory: str) -> NoReturn:
    """Wait for the zygote and all of its instances, which end with it; remove their files."""
    pidfd = os.pidfd_open(zygote)

    def end(_number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def close_alone(tree: mounts.Tree, directory: str) -> tuple[str, ...]:
    """Choose what instances may read, and import from nowhere else. Returns the paths to grant."""
    granted: list[str] = []

    def choose() -> None:
        granted.extend(view.grants(tree))

    def show() -> None:
        if view.is_covered(directory, granted):
            raise OSError(errno.EPERM, f"the bundles in {directory} would be readable to all")
        # It looks whether they exist, which they do, and fails to read them.
        mimetypes.knownfiles.clear()
        links = os.path.join(directory, _LINKS)
        os.mkdir(links, 0o755)
        sys.path[:] = view.link(sys.path, granted, links)
        granted.append(links)

    steps: list[Step] = [
        ("choice of files", choose),
        ("import path", show),
        ("session keyring", credentials.leave_session_keyring),
    ]
    if os.geteuid() == 0:
        steps.append(("bounding set", credentials.drop_bounding_set))
    run_steps(steps)
    return tuple(granted)


def close(tree: mounts.Tree) -> None:
    """Shut the zygote in: only the tree remains of the file system."""
    run_steps(
        [
            ("root", lambda: mounts.build_root(tree)),
            ("session keyring", credentials.leave_session_keyring),
            ("bounding set", credentials.drop_bounding_set),
        ]
    )


def forget_host() -> None:
    """Reset signals, and empty what the interpreter remembers of how it was started.

    A broken pipe or a full file stays an error, not a death.
    """
    for number in signal.valid_signals() - _NO_HANDLER - _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    sys.argv[:] = [""]
    sys.orig_argv[:] = []
    sys.dont_write_bytecode = True
