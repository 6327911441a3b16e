"""What the loop asks of an entrypoint, and how its arguments are fitted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import CO_COROUTINE, CO_VARARGS
from types import FunctionType
from typing import Any, Protocol

from sandbox.runtime.context import Invocation


class Adapter(Protocol):
    """Serves invocations with one kind of entrypoint."""

    kind: str
    """``worker``, ``asgi`` or ``wsgi``."""
    concurrent: bool
    """False: synchronous code, which ``handle_blocking`` runs one request at a time."""
    handlers: list[str]
    scheduled: Callable[[Any, Any], Any] | None
    """Called with controller and context when a schedule is due; None: there is nothing to call."""

    async def startup(self) -> None:
        """Run before the first request; what it raises fails the load."""

    async def shutdown(self) -> None:
        """Run after the last request."""

    async def handle(self, invocation: Invocation) -> None:
        """Serve one invocation on the event loop."""

    def handle_blocking(self, invocation: Invocation) -> None:
        """Serve one invocation in synchronous code."""


def is_plain(target: Any) -> bool:
    """Whether it is a function as it was defined, with nothing noted on it by who wraps or marks.

    What is to be known of such is in its code: to ask ``inspect``, which handles anything, takes
    memory of each instance.
    """
    return type(target) is FunctionType and not target.__dict__


def find_in(owner: type, name: str) -> Any:
    """Find what a class has under a name, as it was defined; None when it has nothing."""
    if type(owner) is not type:
        return inspect.getattr_static(owner, name, None)
    for base in owner.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def fitting(function: Callable[..., Any], offered: int) -> int:
    """Say how many of ``offered`` positional arguments a callable takes."""
    method = _initialiser(function)
    if is_plain(method):
        code = method.__code__
        taken = max(code.co_argcount - (method is not function), 0)
        return offered if code.co_flags & CO_VARARGS else min(taken, offered)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return offered
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return offered
    taken = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return min(taken, offered)


def _initialiser(target: Any) -> Any:
    """What takes the arguments when a class of the usual kind is called; else what is called."""
    if type(target) is not type or find_in(target, "__new__") is not object.__new__:
        return target
    return target if hasattr(target, "__signature__") else find_in(target, "__init__")


def is_async_callable(target: Any) -> bool:
    """Whether calling a function, or an object with ``__call__``, gives something to await."""
    if is_plain(target):
        return bool(target.__code__.co_flags & CO_COROUTINE)
    if inspect.isroutine(target):
        return inspect.iscoroutinefunction(target)
    return inspect.iscoroutinefunction(inspect.getattr_static(type(target), "__call__", None))
