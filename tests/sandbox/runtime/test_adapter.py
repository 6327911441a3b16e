"""What is read off the code of a plain function is what ``inspect`` says of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Self

import pytest

from sandbox.runtime import loader
from sandbox.runtime.adapter import find_in, fitting, is_async_callable


async def _two(a: int, b: int = 0) -> None: ...


def _mixed(a: int, /, b: int, *, c: int = 0, **rest: int) -> None: ...


def _any(*args: int) -> None: ...


@functools.wraps(_two)
def _wrapping(*args: Any, **named: Any) -> Any: ...


def _signed() -> None: ...


_signed.__signature__ = inspect.signature(_mixed)  # type: ignore[attr-defined]


class _Plain:
    def __init__(self, context: object, env: object) -> None: ...

    async def __call__(self, a: int) -> None: ...


class _Made:
    def __new__(cls, context: object) -> Self: ...  # type: ignore[empty-body]

    def __init__(self, *args: object) -> None: ...


class _Signed(_Plain):
    __signature__ = inspect.signature(_signed)


class _Meta(type):
    def __call__(cls, one: object) -> Any: ...

    def found(cls) -> None: ...


class _WithMeta(metaclass=_Meta):
    def __init__(self, a: int, b: int, c: int) -> None: ...


class _Bare: ...


class _Derived(_Plain):
    limit = None


def _by_inspect(target: Callable[..., Any], offered: int) -> int:
    parameters = inspect.signature(target).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return offered
    return min(sum(p.kind <= p.POSITIONAL_OR_KEYWORD for p in parameters), offered)


@pytest.mark.parametrize(
    "target",
    [
        *(_two, _mixed, _any, _wrapping, _signed, lambda: None),
        *(_Plain, _Made, _Signed, _WithMeta, _Bare, _Derived),
        *(_Plain(1, 2), _Plain(1, 2).__call__, functools.partial(_two, 1), functools.partial(_any)),
    ],
)
@pytest.mark.parametrize("offered", [0, 1, 2, 4])
def test_as_many_arguments_fit_as_inspect_says(target: Any, offered: int) -> None:
    assert fitting(target, offered) == _by_inspect(target, offered)


def test_nothing_fits_what_takes_nothing_and_anything_what_cannot_be_looked_into() -> None:
    class Broken:
        def __init__() -> None: ...  # type: ignore[misc]

    assert fitting(Broken, 2) in (0, 2)
    assert fitting(dict.update, 3) == 3


def test_what_is_to_be_awaited_is_told_from_what_is_not() -> None:
    def generator() -> Any:
        yield

    awaited: list[Any] = [_two, _Plain(1, 2), _Plain(1, 2).__call__]
    others: list[Any] = [_mixed, _wrapping, generator, print, _Bare(), functools.partial(_any)]
    assert all(map(is_async_callable, awaited))
    assert not any(map(is_async_callable, others))


def test_a_method_is_found_as_it_was_defined() -> None:
    assert find_in(_Derived, "__call__") is _Plain.__dict__["__call__"]
    assert find_in(_Derived, "limit") is None
    assert find_in(_Derived, "nothing") is None
    assert find_in(_WithMeta, "found") is _Meta.__dict__["found"]
    assert find_in(_Bare, "__init__") is object.__dict__["__init__"]


def _named(a: int, b: int = 0, *, c: int) -> None: ...


def _application(environ: int, start_response: int, /, *rest: int, key: int = 0) -> None: ...


@pytest.mark.parametrize(
    "target", [_two, _mixed, _any, _wrapping, _signed, _named, _application, lambda a, b: None]
)
def test_the_parameters_of_an_application_are_what_inspect_says(target: Any) -> None:
    signature = inspect.signature(target)
    assert loader._parameters(target) == list(signature.parameters)
    for count in range(5):
        try:
            signature.bind(*range(count))
        except TypeError:
            assert not loader._takes(target, count)
        else:
            assert loader._takes(target, count)
