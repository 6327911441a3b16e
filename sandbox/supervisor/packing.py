"""Memory of the zygote, arranged so that its children share as much of it as they can.

A forked child shares every page that neither side writes to. New objects go into what freed ones
have left: all over the zygote's pages, each of which a child then has to copy. So what is free is
filled up first, and the children's own objects come to lie together, on fresh pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sandbox.jail import syscalls

_STEP: Final = 16
_LARGEST: Final = 512
"""Up to here the interpreter allocates objects itself, by size: Objects/obmalloc.c."""
_ROW_BYTES: Final = (1 << 14) - 256
"""So much in a row, a pool without its header, has not been in use before."""
_MOST_BYTES: Final = 8 << 20
"""Of one size: an interpreter that allocates in another way is left as it is."""
_BYTES_HEADER: Final = b"".__sizeof__()

_kept: list[object] = []


def fill() -> None:
    """Fill up the free memory between what is there. Called once, after a collection."""
    for size in range(_STEP, _LARGEST + 1, _STEP):
        blocks = _fill_holes(size)
        _kept.append(blocks)
    syscalls.fill_heap()


def _fill_holes(size: int) -> list[object]:
    """The objects that fill what is free for this size; empty when it never ends."""
    make = _maker(size)
    blocks: list[object] = []
    enough, row, last = _ROW_BYTES // size, 0, 0
    for _ in range(_MOST_BYTES // size):
        block = make()
        blocks.append(block)
        row = row + 1 if id(block) == last + size else 1
        last = id(block)
        if row >= enough:
            del blocks[-row:]
            return blocks
    return []


def _maker(size: int) -> Callable[[], object]:
    """How an object of this size, which the collector does not know, is made."""
    if size <= object().__sizeof__():
        return object
    if size < _BYTES_HEADER:
        numbers = _numbers()
        return lambda: next(numbers)
    return lambda: bytes(size - _BYTES_HEADER)


def _numbers() -> Iterator[float]:
    number = 0.5
    while True:
        yield number
        number += 1.0
