"""What the loop asks of an entrypoint, and how its arguments are fitted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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


def fitting(function: Callable[..., Any], offered: int) -> int:
    """Say how many of ``offered`` positional arguments a callable takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return offered
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return offered
    taken = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return min(taken, offered)


def is_async_callable(target: Any) -> bool:
    """Whether calling a function, or an object with ``__call__``, gives something to await."""
    if inspect.isroutine(target):
        return inspect.iscoroutinefunction(target)
    return inspect.iscoroutinefunction(inspect.getattr_static(type(target), "__call__", None))
