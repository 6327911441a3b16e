"""Mounts: the file tree an instance sees.

Stops: reading or even naming any file of the host but the runtime's own, writing outside the
private /tmp, changing the bundle in /app, device files, set-user-id files, native code written to
/tmp at run time. There is no /proc, no /sys and no /etc. Does not stop: native code that
came with the bundle, reading the shared runtime, filling the private tmpfs (its size is capped).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sandbox.jail import syscalls
from sandbox.jail.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT

APP: Final = "/app"
SCRATCH: Final = "/tmp"  # noqa: S108 - the jail's own private tmpfs
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom")
_STAGES: Final = ("/mnt", "/media", "/srv", "/opt", "/sys", "/run", "/var")
_QUIET: Final = MS_NOSUID | MS_NODEV
_SCRATCH_INODES: Final = 1024
_SPARE_INODES: Final = 96
_PAGE: Final = 4096
_LOCKED: Final = (
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, syscalls.MS_NOATIME),
    (os.ST_NODIRATIME, syscalls.MS_NODIRATIME),
    (os.ST_RELATIME, syscalls.MS_RELATIME),
)


def choose_stage(sources: Iterable[str]) -> str:
    """Return an existing directory to build the new root on: one that hides no source."""
    needed = {os.path.realpath(path) for path in sources} | {
        os.path.abspath(path) for path in sources
    }
    for stage in _STAGES:
        if os.path.isdir(stage) and not any(
            (path + "/").startswith(stage + "/") for path in needed
        ):
            return stage
    raise OSError(errno.ENOENT, f"none of {', '.join(_STAGES)} is a free directory to mount on")


@dataclass(frozen=True, slots=True)
class Tree:
    """What the root of the jail is made of: paths of the host, each shown at its own place."""

    paths: tuple[str, ...]
    """Files and directories to show read-only."""
    masked: tuple[str, ...] = ()
    """Directories below them whose contents are hidden, but for paths named above."""

    def tops(self) -> tuple[str, ...]:
        """Return the top-level directories of the jail that hold the runtime."""
        return tuple(sorted({"/" + path.split("/", 2)[1] for path in self.paths}))


def build_root(tree: Tree) -> None:
    """Replace this mount namespace's root by a read-only tmpfs that shows only the tree."""
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = choose_stage(tree.paths)
    _tmpfs(root, "size=1m,nr_inodes=8192,mode=755")
    for name in (APP, SCRATCH, "/dev"):
        os.mkdir(root + name, 0o755)
    masked = [path for path in tree.masked if os.path.isdir(path)]
    outside = [path for path in tree.paths if not _below(path, masked)]
    inside = [path for path in tree.paths if _below(path, masked)]
    _bind_all(root, outside)
    for path in masked:
        _tmpfs(root + path, "size=1m,nr_inodes=8192,mode=755")
    _bind_all(root, inside)
    for path in masked:
        _freeze(root + path)
    for device in DEVICES:
        _bind_device(device, root + device)
    _link_library_dirs(root)
    _freeze(root)
    _pivot(root)


def _bind_all(root: str, paths: Iterable[str]) -> None:
    for path in sorted(paths):
        _bind_read_only(os.path.realpath(path), root + path)


def _below(path: str, directories: Sequence[str]) -> bool:
    return any(path.startswith(directory + "/") for directory in directories)


def _tmpfs(target: str, options: str, flags: int = MS_NOEXEC) -> None:
    syscalls.mount("tmpfs", target, "tmpfs", _QUIET | flags, options)


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o444))


def _bind_read_only(source: str, target: str) -> None:
    if os.path.lexists(target):
        return  # Already visible, through a directory above it.
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        _touch(target)
    try:
        syscalls.mount(source, target, None, MS_BIND)
    except OSError as error:
        # In a user namespace a directory with mounts below it can only be bound with them.
        if error.errno != errno.EINVAL:
            raise
        syscalls.mount(source, target, None, MS_BIND | syscalls.MS_REC)
    _freeze(target, MS_NODEV | _locked(target))


def _bind_device(device: str, target: str) -> None:
    """Show a device. It can be written to all the same; its times on the host cannot be set."""
    _touch(target)
    syscalls.mount(device, target, None, MS_BIND)
    _freeze(target, MS_NOEXEC | _locked(target))


def _locked(target: str) -> int:
    """Return the flags of a mount's source, which a user namespace may not clear."""
    present = os.statvfs(target).f_flag
    return sum(mount_flag for flag, mount_flag in _LOCKED if present & flag)


def _freeze(target: str, flags: int = MS_NODEV | MS_NOEXEC) -> None:
    syscalls.mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | flags)


def _link_library_dirs(root: str) -> None:
    """Repeat the merged-/usr links, by which the dynamic loader finds its directories."""
    for name in ("/lib", "/lib64"):
        if os.path.islink(name) and not os.path.lexists(root + name):
            os.symlink(os.readlink(name), root + name)


def _pivot(root: str) -> None:
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much the private mounts of one instance hold."""

    scratch_bytes: int
    app_bytes: int
    app_files: int


def mount_private(owner: int, sizes: Sizes) -> None:
    """Mount this instance's own empty /tmp and /app, owned by its user id.

    By its path /app is read-only. The working directory is left in the writable mount below that
    one: who changes it gives up the only way to write there.
    """
    # Bundles have fewer directories than files, and each takes an inode.
    app_inodes = 2 * sizes.app_files + _SPARE_INODES
    for target, size, inodes, flags in (
        (SCRATCH, sizes.scratch_bytes, _SCRATCH_INODES, MS_NOEXEC),
        # Compiled modules of a bundle are mapped from there; nothing of it changes once it runs.
        (APP, sizes.app_bytes, app_inodes, 0),
    ):
        # A size of 0 would mean no limit to tmpfs.
        options = f"size={max(size, _PAGE)},nr_inodes={inodes},mode=700,uid={owner},gid={owner}"
        _cover(target, options, flags)
    os.chdir(APP)
    syscalls.mount(APP, APP, None, MS_BIND | syscalls.MS_REC)
    _freeze(APP, MS_NODEV)


def _cover(target: str, options: str, flags: int) -> None:
    """Mount a tmpfs over a directory, keeping runtime files below it (a venv in /tmp) visible."""
    kept = os.listdir(target)
    if kept:
        os.chdir(target)
    _tmpfs(target, options, flags)
    for name in kept:
        # The working directory still is the covered one: the source is looked up there.
        os.mkdir(f"{target}/{name}", 0o755)
        syscalls.mount(name, f"{target}/{name}", None, MS_BIND | syscalls.MS_REC)
