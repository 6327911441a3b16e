"""Who is told of what happens on the corridor. Every method is optional: the default does nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gateway.model.invocation import Invocation
from gateway.model.script import ScriptKey

logger = logging.getLogger(__name__)


class Observer:
    """Told of invocations and instances; must be quick and must not block."""

    def invocation(self, invocation: Invocation) -> None:
        """One invocation is over. Called exactly once for each."""

    def instance_started(self, key: ScriptKey, tenant: str, start_ns: int) -> None:
        """An instance serves; it took ``start_ns`` from the decision to ready."""

    def instance_stopped(self, key: ScriptKey, tenant: str, why: str) -> None:
        """An instance is gone."""


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
