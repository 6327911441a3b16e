"""Who is told of what happens on the corridor. Every method is optional; defaults do nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from gateway.model.invocation import Invocation
from gateway.model.script import Script, ScriptKey

logger = logging.getLogger(__name__)


class Observer:
    """Told of invocations and instances; must be quick and must not block."""

    def invocation(self, invocation: Invocation) -> None:
        """One invocation is over. Called exactly once for each."""

    def instance_started(self, key: ScriptKey, tenant: str, start_ns: int) -> None:
        """An instance serves; it took ``start_ns`` from the decision to ready."""

    def instance_stopped(self, key: ScriptKey, tenant: str, why: str) -> None:
        """An instance is gone."""

    def websocket_opened(self, key: ScriptKey, tenant: str) -> None:
        """A WebSocket of a script is open."""

    def websocket_closed(self, key: ScriptKey, tenant: str) -> None:
        """One that was open is over."""

    def websocket_messages(self, key: ScriptKey, tenant: str, received: int, sent: int) -> None:
        """So many messages were carried since the last call, from clients and to them."""


class Observers(Observer):
    """Fans out to many; a failing observer is logged and never breaks a request."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def invocation(self, invocation: Invocation) -> None:
        """Pass on."""
        for observer in self._observers:
            try:
                observer.invocation(invocation)
            except Exception:
                logger.exception("observer failed", extra={"observer": type(observer).__name__})

    def instance_started(self, key: ScriptKey, tenant: str, start_ns: int) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.instance_started(key, tenant, start_ns)

    def instance_stopped(self, key: ScriptKey, tenant: str, why: str) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.instance_stopped(key, tenant, why)

    def websocket_opened(self, key: ScriptKey, tenant: str) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.websocket_opened(key, tenant)

    def websocket_closed(self, key: ScriptKey, tenant: str) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.websocket_closed(key, tenant)

    def websocket_messages(self, key: ScriptKey, tenant: str, received: int, sent: int) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.websocket_messages(key, tenant, received, sent)


class Changes(Protocol):
    """Told when stored facts change, so that caches forget them before the change is answered."""

    def hostname_changed(self, hostname: str) -> None:
        """The record of a hostname was set or removed."""

    def script_changed(self, key: ScriptKey) -> None:
        """A script has a new serving version."""

    def previews_changed(self, key: ScriptKey) -> None:
        """A script has another version that does not serve, or its previews were switched."""

    def deployed(self, script: Script, why: str, message: str) -> None:
        """A script serves from now on what it says; told after ``script_changed``.

        ``why``: what triggered it, as deployments say.
        """

    def script_removed(self, key: ScriptKey) -> None:
        """A script is gone."""

    def tenant_changed(self, slug: str) -> None:
        """A tenant's plan or status changed."""

    def tenant_removed(self, slug: str) -> None:
        """A tenant is gone, with its scripts and hostnames."""

    def everything_changed(self) -> None:
        """Too much changed to name."""
