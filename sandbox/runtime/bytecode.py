"""What was compiled of a bundle when its version was new: made in one jail, found in others.

It is compiled in a process that runs nothing of the tenant's, and is read only in processes of the
very version that it was compiled from. There it lies beside the sources, not instead of them:
tracebacks, ``inspect`` and whatever reads a module's file see what was uploaded.
"""

from __future__ import annotations

import marshal
import mmap
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import PathEntryFinder
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import MAGIC_NUMBER, source_hash

from sandbox.protocol import CHUNK, END, LENGTH_SIZE, FrameType, encode
from sandbox.runtime.channel import Channel
from sandbox.runtime.content import Content

_FLAGS = (0b01).to_bytes(4, "little")
"""The source is known by its hash, which is not compared: it came with it."""
_FILE = ".bytecode"


class _Kept:
    """Compiled modules, by the path of their source."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        self.data: memoryview | mmap.mmap = memoryview(b"")

    def find(self, path: str) -> bytes | None:
        place = self.places.get(path)
        return bytes(self.data[place[0] : place[1]]) if place is not None else None


_kept = _Kept()


class BundleLoader(SourceFileLoader):
    """Loads a module of the bundle; looks for its bytecode among what came with the sources."""

    def get_data(self, path: str) -> bytes:
        """Return the bytes of the file at ``path``. Raises OSError when there is none."""
        if path != self.path and path.endswith(".pyc"):
            found = _kept.find(self.path)
            if found is not None:
                return found
        return super().get_data(path)


def loader_of(name: str, path: str) -> BundleLoader | None:
    """Return what loads the module at ``path``; None when no bytecode of it came along."""
    return BundleLoader(name, path) if path in _kept.places else None


def receive(
    content: Content,
    folder: str,
    app_dir: str,
    modules: Sequence[tuple[str, int]],
    sizes: list[int],
) -> None:
    """Take in the bytecode of modules, of so many bytes each, and let imports find it.

    It is kept in a file without a name, of which only what is used takes memory of the process.
    Raises OSError when that cannot be made.
    """
    root = os.path.realpath(app_dir)
    offset = 0
    for (name, _), size in zip(modules, sizes, strict=True):
        if size:
            _kept.places[os.path.join(root, name)] = (offset, offset + size)
            offset += size
    if not offset:
        return
    path = os.path.join(folder, _FILE)
    with open(path, "xb+") as file:
        os.unlink(path)
        file.writelines(content.take(offset))
        file.flush()
        _kept.data = mmap.mmap(file.fileno(), offset, access=mmap.ACCESS_READ)
    sys.path_hooks.insert(0, _hook_below(root))


def _hook_below(root: str) -> Callable[[str], PathEntryFinder]:
    find = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (BundleLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> PathEntryFinder:
        if path != root and not path.startswith(root + os.sep):
            raise ImportError("not of the bundle", path=path)
        return find(path)

    return hook


def compile_all(
    channel: Channel, content: Content, app_dir: str, modules: Iterable[tuple[str, int]]
) -> None:
    """Compile modules and send what comes of each, behind its length; nothing for a broken one.

    What it is given is hostile: the compiler may run out of memory, stack or time over it.
    """
    root = os.path.realpath(app_dir)
    warnings.simplefilter("ignore")
    for name, size in modules:
        code = compiled(b"".join(content.take(size)), os.path.join(root, name))
        data = len(code).to_bytes(LENGTH_SIZE, "little") + code
        for start in range(0, len(data), CHUNK):
            channel.send(encode(FrameType.BODY, 0, data[start : start + CHUNK]))
    channel.send(encode(FrameType.BODY, 0, b"", END))


def compiled(source: bytes, path: str) -> bytes:
    """Return the bytecode of the module at ``path`` as imports read it; nothing of a broken one."""
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        return b"".join((MAGIC_NUMBER, _FLAGS, source_hash(source), marshal.dumps(code)))
    except Exception:
        # Templates and old code that nobody imports: who does is told by the import.
        return b""
