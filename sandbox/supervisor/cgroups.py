"""A memory and task account of the kernel's for each instance, where the node may make cgroups.

Stops: memory that neither address space nor resident size shows (pages of tmpfs, page cache, tables
and buffers of the kernel), and tasks beyond the bound. Does not stop: what was charged before the
instance was put in, which is the zygote's; CPU, which the meter watches.

One group for the node, beside its own process; below it one for each instance. The node holds a
lock on its group, so that what a killed one left is told apart from what another still uses.
Source of the facts: cgroups(7), Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Final

logger = logging.getLogger(__name__)

PREFIX: Final = "waypost-"
OWN_LEAF: Final = "waypost_gateway"
"""Where the node itself goes under v2, whose groups hold either processes or groups."""
_MEMORY: Final = "memory"
_PIDS: Final = "pids"
_ATTEMPTS: Final = 5
_DELEGATE: Final = "start it by systemd with `Delegate=yes`"


class CgroupsUnavailable(Exception):
    """The node may not make cgroups that hold memory."""

    def __init__(self, why: str, fix: str = _DELEGATE) -> None:
        super().__init__(why)
        self.why = why
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Place:
    """Where the node may make its group, and how the files there are called."""

    version: str
    directories: dict[str, Path]
    """By controller; one and the same under v2."""
    oom_file: str
    usage_file: str

    def __str__(self) -> str:
        where = ", ".join(map(str, dict.fromkeys(self.directories.values())))
        return f"{self.version}: {' and '.join(self.directories)} in {where}"

    def limits(self, memory_bytes: int, tasks: int) -> Iterator[tuple[str, str, str, bool]]:
        """Yield controller, file and content of each limit, and whether it may not be missing."""
        if self.version == "v1":
            yield _MEMORY, "memory.limit_in_bytes", str(memory_bytes), True
            # Absent where swap is not counted.
            yield _MEMORY, "memory.memsw.limit_in_bytes", str(memory_bytes), False
        else:
            yield _MEMORY, "memory.max", str(memory_bytes), True
            yield _MEMORY, "memory.swap.max", "0", False
            yield _MEMORY, "memory.oom.group", "1", False
        if _PIDS in self.directories:
            yield _PIDS, "pids.max", str(tasks), True


def find(proc: Path = Path("/proc/self")) -> Place:
    """Say where the node may make groups. Raises CgroupsUnavailable. Changes nothing."""
    memberships = {
        controller: path
        for _, controllers, path in (
            line.split(":", 2) for line in _read(proc / "cgroup").splitlines()
        )
        for controller in controllers.split(",")
    }
    mounts = dict(_mounts(_read(proc / "mountinfo")))
    unified = _own_directory(mounts, memberships, "")
    if unified is not None:
        if unified.name == OWN_LEAF:
            unified = unified.parent
        offered = _read(unified / "cgroup.controllers").split()
        if _MEMORY in offered:
            return _find_v2(unified, offered)
    return _find_v1(mounts, memberships)


def _find_v2(directory: Path, offered: list[str]) -> Place:
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        if not os.access(directory / name, os.W_OK):
            raise CgroupsUnavailable(f"{directory / name} cannot be written")
    controllers = [name for name in (_MEMORY, _PIDS) if name in offered]
    return Place("v2", dict.fromkeys(controllers, directory), "memory.events", "memory.current")


def _find_v1(mounts: dict[str, tuple[Path, str]], memberships: dict[str, str]) -> Place:
    found = {}
    for controller in (_MEMORY, _PIDS):
        directory = _own_directory(mounts, memberships, controller)
        if directory is not None and os.access(directory, os.W_OK):
            found[controller] = directory
    if _MEMORY not in found or os.geteuid() != 0:
        raise CgroupsUnavailable("no memory controller that this process may use")
    return Place("v1", found, "memory.oom_control", "memory.usage_in_bytes")


def _mounts(table: str) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Yield mount point and root of each hierarchy, by controller; the empty name is v2."""
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" ", 2), "", "")[:3]
        root, point = before.split()[3:5]
        if kind == "cgroup2":
            yield "", (Path(point), root)
        elif kind == "cgroup":
            for option in options.split(","):
                yield option, (Path(point), root)


def _own_directory(
    mounts: dict[str, tuple[Path, str]], memberships: dict[str, str], controller: str
) -> Path | None:
    own = memberships.get(controller)
    if own is None or controller not in mounts:
        return None
    point, root = mounts[controller]
    # What lies outside of the cgroup namespace, or of what is mounted, has no path here.
    below = Path(own).is_relative_to(root) and ".." not in Path(own).parts
    directory = point / os.path.relpath(own, root) if below else point
    return directory if below and directory.is_dir() else None


class Group:
    """The account of one instance."""

    def __init__(
        self, owner: Cgroups, directories: Iterable[Path], oom_file: Path, usage_file: Path
    ) -> None:
        self._owner = owner
        self.directories = tuple(directories)
        self._oom_file = oom_file
        self._usage_file = usage_file

    def used_bytes(self) -> int:
        """Return the memory on its account; 0 when that cannot be read."""
        used = _read(self._usage_file).strip()
        return int(used) if used.isdigit() else 0

    def ran_out_of_memory(self) -> bool:
        """Say whether the kernel killed in it, for its memory."""
        lines = (line.split() for line in _read(self._oom_file).splitlines())
        return any(line[0] == "oom_kill" and line[1] != "0" for line in lines if len(line) > 1)

    @property
    def threads(self) -> Executor:
        """Where to ask it: the kernel may keep whoever asks waiting for others."""
        return self._owner.threads

    def discard(self) -> None:
        """Have it removed, in another thread.

        The kernel has whoever removes a group wait for those that are put into one: 20 ms and more.
        """
        self._owner.later(self.remove)

    def remove(self) -> None:
        """Remove it once its process is dead; what is still dying is removed later."""
        if not self.try_remove():
            self._owner.lingering.append(self)
        elif self._owner.lingering:
            self._owner.sweep()

    def try_remove(self) -> bool:
        """Remove it if it is empty; False when it is not."""
        removed = [_remove(directory) for directory in self.directories]
        return all(removed)


class Cgroups:
    """The node's group and those of its instances. Opened before any child is started."""

    def __init__(self, place: Place) -> None:
        """Make the node's group. Raises CgroupsUnavailable."""
        self.place = place
        self.lingering: list[Group] = []
        """Groups whose process is still dying."""
        self._locks: list[int] = []
        self._numbers = itertools.count(1)
        try:
            if place.version == "v2":
                _delegate(place)
            self._clear_leftovers()
            self._directories = self._make()
        except OSError as error:
            self._unlock()
            raise CgroupsUnavailable(str(error)) from error
        self.threads = _threads(2)
        """For what waits; begun at once, since the kernel has new threads wait for moves too."""
        self._janitor = _threads(1)

    def add(self, pid: int, memory_bytes: int, tasks: int) -> Group:
        """Put a process into a group of its own. Raises OSError; nothing is left then.

        May run in any thread.
        """
        name = str(next(self._numbers))
        own = {key: path / name for key, path in self._directories.items()}
        unique = dict.fromkeys(own.values())
        memory = own[_MEMORY]
        group = Group(self, unique, memory / self.place.oom_file, memory / self.place.usage_file)
        try:
            for directory in unique:
                directory.mkdir()
            for controller, file, content, needed in self.place.limits(memory_bytes, tasks):
                _write(own[controller] / file, content, needed=needed)
            for directory in unique:
                _write(directory / "cgroup.procs", str(pid))
        except OSError:
            group.try_remove()
            raise
        return group

    def later(self, act: Callable[[], None]) -> None:
        """Act in the thread that removes groups; when all are closed they are removed anyway."""
        with suppress(RuntimeError):
            self._janitor.submit(act)

    def close(self) -> None:
        """Remove every group that is empty, and what others left. May be called in any thread."""
        self._janitor.shutdown()
        self.threads.shutdown()
        self.sweep()
        for directory in dict.fromkeys(self._directories.values()):
            _remove_tree(directory)
        self._unlock()
        self._clear_leftovers()

    def sweep(self) -> None:
        """Try again to remove what was still dying."""
        self.lingering = [group for group in self.lingering if not group.try_remove()]

    def _make(self) -> dict[str, Path]:
        for _ in range(_ATTEMPTS):
            name = f"{PREFIX}{secrets.token_hex(4)}"
            made = {key: path / name for key, path in self.place.directories.items()}
            # Another node may take it for a leftover before it is locked.
            with suppress(FileNotFoundError):
                for directory in dict.fromkeys(made.values()):
                    directory.mkdir()
                    self._locks.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
                locked = [_lock(fd) for fd in self._locks]
                if all(locked) and all(path.is_dir() for path in made.values()):
                    break
            self._unlock()
        else:
            raise OSError("the node's group was removed while it was made")
        if self.place.version == "v2":
            _enable(made[_MEMORY], self.place.directories)
        return made

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    def _clear_leftovers(self) -> None:
        """Remove the groups of nodes that are dead: theirs is not locked any more."""
        for parent in dict.fromkeys(self.place.directories.values()):
            for directory in parent.glob(f"{PREFIX}*"):
                with suppress(OSError):
                    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        if _lock(fd):
                            _remove_tree(directory)
                    finally:
                        os.close(fd)


def _threads(count: int) -> ThreadPoolExecutor:
    """An executor whose threads have all begun."""
    executor = ThreadPoolExecutor(count, "cgroups")
    begun = Barrier(count + 1)
    for _ in range(count):
        executor.submit(begun.wait)
    begun.wait()
    return executor


def _delegate(place: Place) -> None:
    """Have a v2 group give its controllers to those below; its processes move to a leaf."""
    base = place.directories[_MEMORY]
    given = _read(base / "cgroup.subtree_control").split()
    if set(place.directories) <= set(given):
        return
    # The root of all groups may hold both processes and groups.
    if (base / "cgroup.type").exists():
        members = _read(base / "cgroup.procs").split()
        if set(members) - {str(os.getpid())}:
            raise CgroupsUnavailable(f"{base} holds other processes than the node")
        leaf = base / OWN_LEAF
        leaf.mkdir(exist_ok=True)
        for member in members:
            _write(leaf / "cgroup.procs", member)
    _enable(base, place.directories)


def _enable(directory: Path, controllers: Iterable[str]) -> None:
    _write(directory / "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))


def _remove_tree(directory: Path) -> None:
    with suppress(OSError):
        for below in directory.iterdir():
            if below.is_dir():
                _remove(below)
    _remove(directory)


def _remove(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, content: str, *, needed: bool = True) -> None:
    try:
        # In a hierarchy of the kernel's no file can be created; a missing one stays an error.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, content.encode())
        finally:
            os.close(fd)
    except OSError:
        if needed:
            raise


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
