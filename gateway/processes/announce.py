"""Changes are made known to every process, and who made one is answered when it is in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from gateway.model.script import ScriptKey
from gateway.observer import Changes
from gateway.processes.leader import Followers


class _Announced:
    """Changes of this process's own caches that the others are told of, too."""

    def __init__(self, own: Changes, followers: Followers) -> None:
        self._own = own
        self._followers = followers

    def deployed(self, *told: Any) -> None:
        """Tails are the leader's alone."""
        self._own.deployed(*told)

    def __getattr__(self, name: str) -> Callable[..., None]:
        own = getattr(self._own, name)

        def announce(*about: str | ScriptKey) -> None:
            own(*about)
            self._followers.change(name, about)

        return announce


def announced(own: Changes, followers: Followers) -> Changes:
    """The changes, made known to all processes."""
    return cast("Changes", _Announced(own, followers))


def with_settling(app: Any, followers: Followers) -> Any:
    """An ASGI application that answers when what it changed is in force in every process."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        async def send_settled(message: Any) -> None:
            await followers.settled()
            await send(message)

        await app(scope, receive, send_settled)

    return serve
