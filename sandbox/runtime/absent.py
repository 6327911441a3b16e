"""What an ordinary server has and a worker lacks.

Nothing here forbids anything, the jail does: a call that fails in it fails with a better message.
What files of the host would tell, such as a user's home, is said in their place.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import importlib
import mimetypes
import os
import pwd
import socket
import subprocess
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from typing import Any

NO_SOCKETS = "a worker has no sockets: use `await fetch(url)` of the package `workers`"
NO_CALLBACKS = (
    "a worker has no callbacks from C code: nothing that is written while it runs can be executed"
)
NO_PROCESSES = "a worker cannot start processes: use threads, or split the work into requests"
_SPAWNERS = ("fork", "forkpty", "posix_spawn", "posix_spawnp")
_HOME = "/tmp"  # noqa: S108 - the only place to write to, and gone with the instance
_MEDIA_TYPES = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Of files on web sites, where versions of Python do not know them or do not agree."""
_FOLDER = 2
"""Of what subprocess hands over after the command and where it may lie: where it is to run."""
_NOT_EXECUTABLE = "failed to map segment"
"""How the dynamic loader words that a file must not become executable memory."""

_installed: list[bool] = []


def install() -> None:
    """Wrap what fails in the jail. Calling it again changes nothing."""
    if _installed:
        return
    _installed.append(True)
    denied = (PermissionError,)
    _wrap(socket.socket, "__init__", denied, NO_SOCKETS)
    _wrap(socket, "getaddrinfo", (socket.gaierror, PermissionError), NO_SOCKETS)
    _wrap(socket, "gethostbyname", (socket.gaierror, PermissionError), NO_SOCKETS)
    for name in _SPAWNERS:
        _wrap(os, name, denied, NO_PROCESSES)
    _explain_programs()
    _explain_semaphores()
    os.listxattr = _no_attributes
    _explain_compiled_modules()
    _explain_callbacks()
    _have_a_user()
    _know_media_types()


def _wrap(owner: Any, name: str, errors: tuple[type[OSError], ...], words: str) -> None:
    original = getattr(owner, name, None)
    if original is not None:
        setattr(owner, name, _explained(original, errors, words))


def _explained(
    function: Callable[..., Any], errors: tuple[type[OSError], ...], words: str
) -> Callable[..., Any]:
    @functools.wraps(function)
    def explained(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except errors as error:
            raise type(error)(error.errno, words) from None

    return explained


def _explain_programs() -> None:
    """Miss a program that is not there, as elsewhere: many programs do without what is missing."""
    original: Any = subprocess.__dict__["_fork_exec"]

    @functools.wraps(original)
    def explained(args: Any, candidates: Any, *more: Any) -> Any:
        try:
            return original(args, candidates, *more)
        except PermissionError:
            folder = os.fsencode(more[_FOLDER] or b"")
            there = any(os.path.exists(os.path.join(folder, path)) for path in candidates)
            kind, number = (
                (PermissionError, errno.EPERM) if there else (FileNotFoundError, errno.ENOENT)
            )
            raise kind(number, NO_PROCESSES, os.fsdecode(args[0])) from None

    subprocess.__dict__["_fork_exec"] = explained


class NoProcesses(PermissionError, NotImplementedError):
    """Programs that go on without processes expect the one or the other."""


def _explain_semaphores() -> None:
    """Let locks between processes fail as processes do: there is no shared memory for them."""
    native = importlib.import_module("_multiprocessing")

    def semaphore(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except OSError:
            raise NoProcesses(errno.EPERM, NO_PROCESSES) from None

    original: Any = native.__dict__["SemLock"]
    semaphore.__dict__.update(SEM_VALUE_MAX=original.SEM_VALUE_MAX, _rebuild=original._rebuild)
    native.__dict__["SemLock"] = semaphore


class NoCallbacks(ImportError, NotImplementedError):
    """Most callbacks are made as a module is imported, by programs that go on without it."""


def _explain_callbacks() -> None:
    """Tell a callback that ctypes cannot make from memory that ran out, as which it is raised."""
    native: Any = ctypes.__dict__["_CFuncPtr"]

    class FunctionPointer(native):  # type: ignore[misc]
        _flags_ = 1  # FUNCFLAG_CDECL; each kind that is derived from it has its own

        def __new__(cls, *args: Any) -> Any:
            try:
                return native.__new__(cls, *args)
            except MemoryError:
                if not (args and callable(args[0])):
                    raise
                raise NoCallbacks(NO_CALLBACKS) from None

    ctypes.__dict__["_CFuncPtr"] = FunctionPointer


def _have_a_user() -> None:
    """Give the process's own user a name and a home, which ``Path.home()`` and getpass ask for."""
    lookup = pwd.getpwuid

    def getpwuid(uid: int, /) -> pwd.struct_passwd:
        try:
            return lookup(uid)
        except KeyError:
            if uid != os.getuid():
                raise
            return pwd.struct_passwd(("worker", "x", uid, os.getgid(), "", _HOME, ""))

    pwd.getpwuid = getpwuid


def _know_media_types() -> None:
    """Know the same ones on every host, whatever lists of its own it has."""
    mimetypes.knownfiles.clear()
    for ending, kind in _MEDIA_TYPES.items():
        mimetypes.add_type(kind, ending)


def _no_attributes(path: Any = None, *, follow_symlinks: bool = True) -> list[str]:
    """Say that the file system has no extended attributes, which shutil takes for an answer."""
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), path)


def _explain_compiled_modules() -> None:
    create_module = ExtensionFileLoader.create_module

    @functools.wraps(create_module)
    def explained(self: ExtensionFileLoader, spec: Any) -> Any:
        try:
            return create_module(self, spec)
        except ImportError as error:
            if _NOT_EXECUTABLE not in str(error):
                raise
            message = (
                f"{spec.name} is compiled, and only what the bundle brings may be: nothing that is "
                "written while the worker runs can be executed"
            )
            raise ImportError(message, name=spec.name, path=spec.origin) from None

    ExtensionFileLoader.create_module = explained  # type: ignore[method-assign]
