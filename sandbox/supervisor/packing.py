"""Memory of the zygote, arranged so that its children share as much of it as they can.

A forked child shares every page that neither side writes to. New objects go into what freed ones
have left: all over the zygote's pages, each of which a child then has to copy. So what is free is
filled up first, and the children's own objects come to lie together, on fresh pages. And whatever
Python uses it writes to, so the functions that serve requests, of which a module has some here and
some there, are laid together, and so is their code.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

from sandbox.jail import syscalls

_STEP: Final = 16
_LARGEST: Final = 512
"""Up to here the interpreter allocates objects itself, by size: Objects/obmalloc.c."""
_ROW_BYTES: Final = (1 << 14) - 256
"""So much in a row, a pool without its header, has not been in use before."""
_MOST_BYTES: Final = 8 << 20
"""Of one size: an interpreter that allocates in another way is left as it is."""
_BYTES_HEADER: Final = b"".__sizeof__()
_NAMES_OF: Final = type.__dict__["__dict__"].__get__
_HOLDERS: Final = 2
"""Of a function, beside its modules and classes: our list, and who counts them."""
_ATTRIBUTES: Final = (
    "__annotate__" if sys.version_info >= (3, 14) else "__annotations__",
    "__dict__",
    "__doc__",
    "__kwdefaults__",
    "__module__",
    "__qualname__",
    "__type_params__",
)

_kept: list[object] = []
_never_run: list[CodeType] = []


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


def gather(run: Callable[[], None], once: Collection[int] = (), seldom: Iterable[int] = ()) -> None:
    """Lay together the functions that ``run`` calls, and their code, the most often called first.

    The functions whose code has one of the ids in ``once`` come next, as each child calls them, and
    those in ``seldom`` last. Called after ``fill``; what it leaves is for another ``fill``, and the
    interpreter has to adapt the code anew.
    """
    called, counts = _called_by(run)
    never_run = set(once) - counts.keys()
    counts.update(dict.fromkeys((*once, *seldom), 0))
    owners: dict[int, list[FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and id(each.__code__) in counts:
            owners.setdefault(id(each.__code__), []).append(each)
            # Kept until all have moved: the next one would go to where this one was.
            called.setdefault(id(each.__code__), each.__code__)
    functions: list[FunctionType] = []
    for key, _ in counts.most_common():
        if sharing := owners.pop(key, None):
            code = _moved(called[key])
            if key in never_run:
                _never_run.append(code)
            for each in sharing:
                each.__code__ = code
            functions += sharing
    _move(functions)


def _move(functions: list[FunctionType]) -> None:
    """Lay functions together, but for those that others than modules and classes refer to."""
    places = _places({id(function) for function in functions})
    # Kept until all have moved: the next one would go to where this one was.
    for index in range(len(functions)):
        owners = places.get(id(functions[index]), ())
        if not owners or sys.getrefcount(functions[index]) != len(owners) + _HOLDERS:
            continue
        if weakref.getweakrefcount(functions[index]):
            continue
        copy = _copy(functions[index])
        for owner, name in owners:
            if type(owner) is ModuleType:
                vars(owner)[name] = copy
            else:
                with contextlib.suppress(TypeError):  # One that cannot be changed.
                    type.__setattr__(owner, name, copy)


def _places(wanted: Container[int]) -> dict[int, list[tuple[Any, str]]]:
    """In which modules and classes functions are to be found by which names, by their ids."""
    places: dict[int, list[tuple[Any, str]]] = {}
    objects = gc.get_objects()
    # By their types: proxies claim other classes, and lazy modules load when they are asked.
    kinds = {kind for kind in set(map(type, objects)) if issubclass(kind, type)} | {ModuleType}
    for owner in objects:
        if type(owner) in kinds:
            names = vars(owner) if type(owner) is ModuleType else _NAMES_OF(owner)
            for name, value in names.items():
                if id(value) in wanted:
                    places.setdefault(id(value), []).append((owner, name))
    return places


def _copy(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    for name in _ATTRIBUTES:
        if value := getattr(function, name, None):
            setattr(copy, name, value)
    return copy


def look_up() -> None:
    """Have the cache of methods hold what code that has never run asks a module's type.

    It asks for each name that it takes from a module; a child would write the answer down where
    another one was, and to the page of the name that was there before. So would it where more is
    held than is asked for.
    """
    for name in {name for code in _never_run for name in code.co_names}:
        hasattr(ModuleType, name)
    _never_run.clear()


def _called_by(run: Callable[[], None]) -> tuple[dict[int, CodeType], Counter[int]]:
    """The code by its id, since one compares equal to its like in another file; and how often."""
    called: dict[int, CodeType] = {}
    counts: Counter[int] = Counter()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            called[id(frame.f_code)] = frame.f_code
            counts[id(frame.f_code)] += 1

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return called, counts


def _moved(code: CodeType) -> CodeType:
    """The same code elsewhere, with what it names: that of functions within it, and constants."""
    return code.replace(co_consts=tuple(map(_moved_constant, code.co_consts)))


def _moved_constant(value: Any) -> Any:
    """A copy, where the interpreter does not see to it that there is but one."""
    if type(value) is CodeType:
        return _moved(value)
    if type(value) is int or type(value) is float:
        return value * 1
    if type(value) is bytes:
        return bytes(bytearray(value))
    if type(value) is tuple:
        return tuple(map(_moved_constant, value))
    return value
