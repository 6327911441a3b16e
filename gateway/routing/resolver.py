"""Resolves hostname (or path, or a trusted proxy's tenant header) → script → version and limits.

In order: the exact hostname's record; ``{script}.{base_domain}``; a version's own hostname below
the base domain (gateway.routing.previews); ``{functions_domain}/{customer}/{function}``; the tenant
header. What was found, and what was not, is remembered for a while and forgotten at once when it
changes through this node.
"""

from __future__ import annotations

import logging
import time
from itertools import accumulate

import msgspec
from cachetools import TTLCache

from gateway.config import Config
from gateway.errors import NotConfigured, ScriptNotFound
from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Choice, HostnameRecord, Route
from gateway.model.script import Script, ScriptKey, Share, TenantStatus, Version
from gateway.routing.hosts import is_script_label, label_below
from gateway.routing.previews import Previews
from gateway.routing.split import chosen
from gateway.store.base import Store

logger = logging.getLogger(__name__)


RECENT_SECONDS = 1.0
RECENT_ENTRIES = 4096
PREVIEW_ENTRIES = 4096


class _Target(msgspec.Struct, frozen=True):
    """Where a host (or host and path prefix) leads."""

    key: ScriptKey | None
    mount: str = ""
    explicit: bool = False
    """An operator's record says so: a missing script is then named as such."""
    tenant: str = ""
    """Whose hostname it is; a script that has become another tenant's does not answer on it."""
    label: bool = False
    """It is one label below the base domain, which may also name a preview."""


_NOWHERE = _Target(None)
_NOBODY = Request("", "", "", "", "", b"", b"", [], None, "")
"""Whose request it is that no client has made: chance decides between versions."""
_record_decoder = msgspec.json.Decoder(HostnameRecord)


class Resolver:
    """Looks routes up in the store, through two bounded caches."""

    def __init__(self, store: Store, config: Config) -> None:
        routing = config.routing
        self._store = store
        self._config = config
        self._routing = routing
        self._reserved = frozenset(routing.reserved_labels)
        self._targets: TTLCache[str, _Target] = TTLCache(
            routing.cache_entries, routing.cache_seconds
        )
        self._scripts: TTLCache[ScriptKey, Route | None] = TTLCache(
            routing.cache_entries, routing.cache_seconds
        )
        self._previews: TTLCache[ScriptKey, Route | None] = TTLCache(
            min(routing.cache_entries, PREVIEW_ENTRIES), routing.cache_seconds
        )
        """By what would be the script of that name."""
        self._find_preview = Previews(store).find
        self._generation = 0
        self._recent: dict[str, Route] = {}
        """The routes of the last moments, in a plain dict: the bounded caches cost microseconds."""
        self._recent_until = 0.0

    # The corridor's question

    def cached(self, request: Request) -> Route | None:
        """The route when memory has it; None when the store must be asked."""
        key = self._target_key(request)
        now = time.monotonic()
        if now > self._recent_until:
            self._recent.clear()
            self._recent_until = now + RECENT_SECONDS
        route = self._recent.get(key)
        if route is None and (route := self._find_cached(key)) is not None:
            if len(self._recent) >= RECENT_ENTRIES:
                self._recent.clear()
            self._recent[key] = route
        return chosen(route, request) if route is not None and route.split else route

    def _find_cached(self, key: str) -> Route | None:
        target = self._targets.get(key)
        if target is None or target.key is None:
            return None
        route = self._scripts.get(target.key)
        if route is None or (target.tenant and target.tenant != route.tenant):
            return None
        return msgspec.structs.replace(route, mount=target.mount) if target.mount else route

    def asks(self, request: Request) -> bool:
        """Whether ``resolve`` has to ask the store."""
        target = self._targets.get(self._target_key(request))
        if target is not None and target.key is None and request.tenant_header is not None:
            target = self._header_target(request.tenant_header)
        return target is None or (target.key is not None and target.key not in self._scripts)

    async def resolve(self, request: Request) -> Route:
        """The route. Raises NotConfigured or ScriptNotFound."""
        target = await self._target(self._target_key(request), request.host, request.path)
        if target.key is None and request.tenant_header is not None:
            target = self._header_target(request.tenant_header)
        if target.key is None:
            raise NotConfigured(f"No worker answers to {request.host or 'this address'}.")
        route = await self._route(target)
        if route is None or (target.tenant and target.tenant != route.tenant):
            if target.explicit:
                raise ScriptNotFound(
                    f"This hostname leads to a worker that does not exist: {target.key.name}."
                )
            raise NotConfigured(f"No worker answers to {request.host}.")
        route = chosen(route, request)
        return msgspec.structs.replace(route, mount=target.mount) if target.mount else route

    async def resolve_script(self, key: ScriptKey) -> Route:
        """The route of what a script serves, asked for by its name. Raises ScriptNotFound."""
        route = await self._script(key)
        if route is None:
            raise ScriptNotFound(f"There is no script {key.name}.")
        return chosen(route, _NOBODY)

    async def answers_to(self, host: str) -> bool:
        """Whether a normalised hostname leads to a worker, or may by the path asked for."""
        if host and host == self._routing.functions_domain:
            return True
        target = await self._target(host, host, b"")
        route = await self._route(target)
        return route is not None and target.tenant in ("", route.tenant)

    def remembers(self, host: str) -> bool:
        """Whether memory has it that a worker answers to this normalised hostname."""
        target = self._targets.get(host)
        return target is not None and target.key is not None and target.key in self._scripts

    async def answers_inside(self, host: str) -> bool:
        """The same of the platform's own domains only.

        A record of another hostname says nothing of who owns it: a tenant's requests to it must
        reach its owner, whom name resolution and TLS know.
        """
        routing = self._routing
        ours = host == routing.functions_domain or label_below(host, routing.base_domain)
        return bool(ours) and await self.answers_to(host)

    # gateway.observer.Changes

    def hostname_changed(self, hostname: str) -> None:
        """Forget where a hostname leads."""
        self._forget_recent()
        self._targets.pop(hostname, None)

    def script_changed(self, key: ScriptKey) -> None:
        """Forget a script's version."""
        self.previews_changed(key)
        self._scripts.pop(key, None)

    def previews_changed(self, key: ScriptKey) -> None:
        """Forget which versions of a script answer on hostnames of their own, and which do not."""
        self._forget_recent()
        ending = f"-{key.name}"
        for label in [label for label in list(self._previews) if label.name.endswith(ending)]:
            self._previews.pop(label, None)

    def tenant_changed(self, slug: str) -> None:
        """Forget the plan and status of a tenant's scripts."""
        self._forget_recent()
        # A tenant that is new takes the names that begin with its own.
        self._previews.clear()
        stale = [
            k for k, route in list(self._scripts.items()) if route is None or route.tenant == slug
        ]
        for key in stale:
            self._scripts.pop(key, None)

    def everything_changed(self) -> None:
        """Forget everything."""
        self._forget_recent()
        self._targets.clear()
        self._scripts.clear()
        self._previews.clear()

    def _forget_recent(self) -> None:
        self._generation += 1
        self._recent.clear()

    # Host → script

    def _target_key(self, request: Request) -> str:
        host = request.host
        if host == self._routing.functions_domain:
            return host + function_prefix(request.path)
        return host

    async def _target(self, cache_key: str, host: str, path: bytes) -> _Target:
        target = self._targets.get(cache_key)
        if target is None:
            generation = self._generation
            target = await self._find_target(host, path)
            if generation == self._generation:
                self._targets[cache_key] = target
        return target

    async def _find_target(self, host: str, path: bytes) -> _Target:
        value = await self._store.get(f"hostname:{host}")
        if value is not None:
            return self._recorded(host, value)
        if host and host == self._routing.functions_domain:
            return self._function_target(path)
        label = label_below(host, self._routing.base_domain)
        if label is not None and is_script_label(label, self._reserved):
            return _Target(ScriptKey(self._config.default_namespace, label), label=True)
        return _NOWHERE

    def _recorded(self, host: str, value: bytes) -> _Target:
        try:
            record = _record_decoder.decode(value)
        except msgspec.MsgspecError:
            logger.exception("unreadable hostname record", extra={"hostname": host})
            return _NOWHERE
        namespace = record.namespace or self._config.default_namespace
        key = ScriptKey(namespace, record.worker_name)
        return _Target(key, explicit=True, tenant=record.tenant)

    def _function_target(self, path: bytes) -> _Target:
        prefix = function_prefix(path)
        if not prefix:
            return _NOWHERE
        _, customer, function = prefix.split("/")
        if not (
            is_script_label(customer, self._reserved) and is_script_label(function, frozenset())
        ):
            return _NOWHERE
        key = ScriptKey(self._config.default_namespace, f"{customer}-{function}")
        return _Target(key, mount=prefix)

    def _header_target(self, value: str) -> _Target:
        if is_script_label(value, self._reserved):
            return _Target(ScriptKey(self._config.default_namespace, value))
        return _NOWHERE

    # Script → version and limits

    async def _route(self, target: _Target) -> Route | None:
        """The script's route; where there is no such script, the preview's of that name."""
        if target.key is None:
            return None
        route = await self._script(target.key)
        return await self._preview(target.key) if route is None and target.label else route

    async def _preview(self, key: ScriptKey) -> Route | None:
        try:
            return self._previews[key]
        except KeyError:
            pass
        generation = self._generation
        found = await self._find_preview(key)
        route = None if found is None else await self._route_to(*found)
        if generation == self._generation:
            self._previews[key] = route
        return route

    async def _script(self, key: ScriptKey) -> Route | None:
        try:
            return self._scripts[key]
        except KeyError:
            pass
        generation = self._generation
        route = await self._find_script(key)
        if generation == self._generation:
            self._scripts[key] = route
        return route

    async def _find_script(self, key: ScriptKey) -> Route | None:
        script = await self._store.get_script(key)
        return None if script is None else await self._route_to(script)

    async def _route_to(self, script: Script, preview: Version | None = None) -> Route:
        """The route of what a script serves, or of one version alone."""
        tenant = await self._store.get_tenant(script.tenant)
        named = await self._store.get(f"plan:{script.tenant}")
        plan = self._config.plan(named.decode("utf-8", "replace") if named is not None else None)
        served = preview.limits if preview is not None else script.limits
        split = _choices(plan.limits, script.split) if preview is None else ()
        return Route(
            key=script.key,
            tenant=script.tenant,
            version_id=preview.id if preview is not None else script.version_id,
            plan=plan.name,
            limits=plan.limits.lowered_by(served),
            split=split,
            status=tenant.status if tenant is not None else TenantStatus.ACTIVE,
            least_instances=min((choice.limits.instances for choice in split), default=0),
            preview=preview is not None,
        )


def _choices(limits: Limits, split: tuple[Share, ...]) -> tuple[Choice, ...]:
    ends = accumulate(share.percentage for share in split)
    return tuple(
        Choice(end, share.version_id, limits.lowered_by(share.limits))
        for end, share in zip(ends, split, strict=True)
    )


def function_prefix(path: bytes) -> str:
    """``/customer/function`` at the head of a raw path; empty when there are no two segments."""
    segments = path[:256].split(b"/", 3)
    if len(segments) < 3 or segments[0] or not segments[1] or not segments[2]:
        return ""
    try:
        return f"/{segments[1].decode('ascii')}/{segments[2].decode('ascii')}"
    except UnicodeDecodeError:
        return ""
