"""When a tail has to end: its token is worth nothing any more, or what it listens to is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, cast

from gateway.model.script import ScriptKey
from gateway.observer import Changes

REVOKED: Final = "the token of this tail was revoked"
EXPIRED: Final = "the token of this tail has expired"


class Watch:
    """One tail that has to know; ``with`` it while it lasts. ``ended`` is done with the reason."""

    def __init__(self, endings: Endings, token_id: str, tenant: str, script: str | None) -> None:
        self._endings = endings
        self._timer: asyncio.TimerHandle | None = None
        self.token_id = token_id
        self.tenant = tenant
        self.script = script
        """The only script that is listened to; None: all of the tenant's."""
        self.namespace: str | None = None
        """Where the script is; None: wherever there is one of the name."""
        self.expires_ms: int | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> Self:
        self._endings.open.add(self)
        if self.expires_ms is not None:
            left = max(0.0, self.expires_ms / 1000 - time.time())
            self._timer = asyncio.get_running_loop().call_later(left, self.end, EXPIRED)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody needs to know any more."""
        self._endings.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def end(self, why: str) -> None:
        """Say that it is over."""
        if not self.ended.done():
            self.ended.set_result(why)


class Endings:
    """Told of what is taken away; tells the tails that depended on it, before the answer does."""

    def __init__(self) -> None:
        self.open: set[Watch] = set()

    def watch(
        self,
        *,
        token_id: str,
        expires_ms: int | None,
        tenant: str,
        script: str | None,
        namespace: str | None = None,
    ) -> Watch:
        """A tail of a tenant, or of one script of its, that a token has asked for."""
        watch = Watch(self, token_id, tenant, script)
        watch.namespace, watch.expires_ms = namespace, expires_ms
        return watch

    def token_revoked(self, token_id: str) -> None:
        """A token's secret is worth nothing from now on."""
        self._end(lambda watch: watch.token_id == token_id, REVOKED)

    def script_removed(self, key: ScriptKey) -> None:
        """A script is gone."""
        self._end(
            lambda watch: watch.script == key.name and watch.namespace in (None, key.namespace),
            f"script {key.name} was deleted",
        )

    def tenant_removed(self, slug: str) -> None:
        """A tenant is gone, with its tokens and scripts."""
        self._end(lambda watch: watch.tenant == slug, f"tenant {slug} was removed")

    def _end(self, concerns: Callable[[Watch], bool], why: str) -> None:
        for watch in list(self.open):
            if concerns(watch):
                watch.end(why)


class _Told:
    """Passes changes on, and tells the tails that depend on what is taken away."""

    def __init__(self, changes: Changes, endings: Endings) -> None:
        self._changes = changes
        self._endings = endings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._changes, name)

    def script_removed(self, key: ScriptKey) -> None:
        self._changes.script_removed(key)
        self._endings.script_removed(key)

    def tenant_removed(self, slug: str) -> None:
        self._changes.tenant_removed(slug)
        self._endings.tenant_removed(slug)


def told_too(changes: Changes, endings: Endings) -> Changes:
    """Let the tails know what is taken away, after everybody else does."""
    return cast("Changes", _Told(changes, endings))
