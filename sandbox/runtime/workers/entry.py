"""The base classes of entrypoints, and small helpers of Cloudflare's package."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class WorkerEntrypoint:
    """Base of the class ``Default``: one instance for each request."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class WorkflowEntrypoint:
    """Base of a workflow. It can be imported; this platform does not run workflows."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class DurableObject:
    """Base of a Durable Object. It can be imported; this platform does not run them."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


def handler(function: F) -> F:
    """Mark a function as a handler; arguments are already Python's own, so nothing is converted."""

    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    @functools.wraps(function)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    wrapped: Any = asynchronous if inspect.iscoroutinefunction(function) else synchronous
    return wrapped  # type: ignore[no-any-return]


def import_from_javascript(name: str) -> Any:
    """Return the module ``js``. Raises ImportError for anything else: there is no JavaScript."""
    module = sys.modules.get("js")
    if name == "js" and module is not None:
        return module
    raise ImportError(f"cannot import {name!r} from JavaScript: this runtime is CPython")


def python_to_rpc(value: Any) -> Any:
    """Return the value: nothing has to be converted."""
    return value


def python_from_rpc(value: Any) -> Any:
    """Return the value: nothing has to be converted."""
    return value
