"""Calls of a script that nobody asked for: its handler of schedules, found and called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from sandbox.runtime.adapter import Adapter, find_in, fitting, is_async_callable
from sandbox.runtime.context import Context, Invocation
from sandbox.runtime.env import env

Handler = Callable[["ScheduledController", Context], Any]
_NO_CONTENT = 204


class ScheduledController:
    """What a handler learns of the schedule that called it."""

    type = "scheduled"

    def __init__(self, cron: str, scheduled_ms: int) -> None:
        self.cron = cron
        """The expression, as it was set."""
        self.scheduled_time = scheduled_ms
        """The minute it was due, in milliseconds since 1970."""

    @property
    def scheduledTime(self) -> int:  # noqa: N802 - Cloudflare's spelling
        """The same."""
        return self.scheduled_time

    def no_retry(self) -> None:
        """Nothing is tried again here anyway."""

    noRetry = no_retry  # noqa: N815 - Cloudflare's spelling

    def __repr__(self) -> str:
        return f"ScheduledController(cron={self.cron!r}, scheduledTime={self.scheduled_time})"


class NoFetchHandlerError(Exception):
    """A request came to a script that only schedules call."""


class NoScheduledHandlerError(Exception):
    """A schedule called a script that has nothing for it to call."""


def find_handler(target: Any, module: ModuleType) -> Handler | None:
    """The ``scheduled`` method of an entrypoint class, else ``on_scheduled`` or ``scheduled``."""
    if isinstance(target, type) and find_in(target, "scheduled") is not None:
        if callable(getattr(target, "scheduled", None)):
            return _of_class(target)
    for name in ("on_scheduled", "scheduled"):
        function = vars(module).get(name)
        if function is not None and inspect.isroutine(function):
            return _of_function(function)
    return None


def _of_class(entrypoint: type) -> Handler:
    has_init = find_in(entrypoint, "__init__") is not object.__dict__["__init__"]
    takes = fitting(entrypoint, 2) if has_init else 0

    def call(controller: ScheduledController, context: Context) -> Any:
        scheduled = entrypoint(*(context, env)[:takes]).scheduled
        return scheduled(*(controller, env, context)[: fitting(scheduled, 3)])

    return call


def _of_function(function: Callable[..., Any]) -> Handler:
    takes = fitting(function, 3)

    def call(controller: ScheduledController, context: Context) -> Any:
        return function(*(controller, env, context)[:takes])

    return call


class OnlyScheduled:
    """An entrypoint that schedules call, and nobody else."""

    kind = "worker"

    def __init__(self, scheduled: Any) -> None:
        function = inspect.unwrap(getattr(scheduled, "__func__", scheduled))
        self.concurrent = is_async_callable(function)
        self.handlers = ["scheduled"]
        self.scheduled: Handler | None = None

    async def startup(self) -> None:
        """Nothing runs before the first call."""

    async def shutdown(self) -> None:
        """Nothing runs after the last call."""

    async def handle(self, invocation: Invocation) -> None:
        """Say that there is nothing for requests."""
        self.handle_blocking(invocation)

    def handle_blocking(self, invocation: Invocation) -> None:
        """Say that there is nothing for requests."""
        raise NoFetchHandlerError(
            "a request came to this script, which has no handler for it: define "
            "fetch(self, request) in class Default, or on_fetch(request, env, ctx)"
        )


class ScheduledAdapter:
    """Serves the call of a schedule where ``adapter`` serves requests."""

    def __init__(self, adapter: Adapter) -> None:
        self.kind = adapter.kind
        self.concurrent = adapter.concurrent
        self.handlers = adapter.handlers
        self.scheduled = adapter.scheduled

    async def startup(self) -> None:
        """Done by the other."""

    async def shutdown(self) -> None:
        """Done by the other."""

    async def handle(self, invocation: Invocation) -> None:
        """Call the handler and wait for it."""
        result = self._call(invocation)
        if inspect.isawaitable(result):
            await result
        _answer(invocation)

    def handle_blocking(self, invocation: Invocation) -> None:
        """Call the handler of synchronous code; it may be asynchronous all the same."""
        result = self._call(invocation)
        if inspect.isawaitable(result):
            invocation.server.run_until(_awaited(result))
        _answer(invocation)

    def _call(self, invocation: Invocation) -> Any:
        if self.scheduled is None or invocation.head.scheduled is None:
            raise NoScheduledHandlerError(
                "a schedule called this script, which has no handler for it: define "
                "scheduled(self, controller, env, ctx) in class Default, "
                "or on_scheduled(controller, env, ctx) in the main module"
            )
        controller = ScheduledController(*invocation.head.scheduled)
        return self.scheduled(controller, Context(invocation))


def _answer(invocation: Invocation) -> None:
    """Say that it is over; there is nothing else to say."""
    invocation.response.end_with(b"")
    invocation.whole = invocation.encode_head(_NO_CONTENT, []), b""


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
