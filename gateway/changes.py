"""What changed in the store, told to everything in this process that remembers it."""

from __future__ import annotations

from gateway.model.script import Script, ScriptKey
from gateway.pool.pool import Pool
from gateway.routing.resolver import Resolver
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tail import TailHub


class OwnChanges:
    """What the catalogue changes, told to the caches and to the pool."""

    def __init__(self, resolver: Resolver, pool: Pool, metrics: Metrics, tail: TailHub) -> None:
        self._resolver = resolver
        self._tail = tail
        self._pool = pool
        self._metrics = metrics

    def hostname_changed(self, hostname: str) -> None:
        """Forget where it leads."""
        self._resolver.hostname_changed(hostname)

    def script_changed(self, key: ScriptKey) -> None:
        """Forget its version, and let its instances go."""
        self._resolver.script_changed(key)
        self._pool.retire(key)

    def previews_changed(self, key: ScriptKey) -> None:
        """Forget whether its versions have hostnames."""
        self._resolver.previews_changed(key)

    def deployed(self, script: Script, why: str, message: str) -> None:
        """Tell the tails."""
        self._tail.deployed(script, why, message)

    def script_removed(self, key: ScriptKey) -> None:
        """The same, and its series end."""
        self.script_changed(key)
        self._metrics.forget(key)

    def tenant_changed(self, slug: str) -> None:
        """Forget what its plan allowed, and let its instances go."""
        self._resolver.tenant_changed(slug)
        self._pool.retire_tenant(slug)

    def tenant_removed(self, slug: str) -> None:
        """Forget all of it."""
        self._pool.retire_tenant(slug)
        self._metrics.forget_tenant(slug)
        self._resolver.everything_changed()

    def everything_changed(self) -> None:
        """Forget everything."""
        self._resolver.everything_changed()
