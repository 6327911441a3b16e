"""Tenants, and the names that belong to them.

A script named ``acme`` or ``acme-…`` belongs to tenant ``acme``; of several that match, the longest
slug wins. So that a new slug never takes a script away from its tenant, creating ``acme-corp`` is
refused while ``acme`` has scripts named ``acme-corp`` or ``acme-corp-…``, or while such a hostname
below the base domain leads to another tenant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from gateway.accounts.errors import BadSlug, TenantConflict, TenantMissing, UnknownPlan
from gateway.config import Config
from gateway.errors import ControlError
from gateway.model.audit import Kind, implied
from gateway.model.naming import MAX_SLUG, is_label, owner_slugs
from gateway.model.script import Script, ScriptKey, Tenant, TenantStatus
from gateway.observer import Changes
from gateway.store.base import AccountStore, CatalogStore, KeyValueStore

PLATFORM: Final = "platform"
"""The operator's account id; never a tenant's slug."""
MAX_NAME: Final = 200
_PAGE: Final = 500


class TenantsStore(AccountStore, CatalogStore, KeyValueStore, Protocol):
    """What tenants need of the store."""


class Tenants:
    """Creates, changes and removes tenants; says whose a name is."""

    def __init__(self, config: Config, store: TenantsStore, changes: Changes) -> None:
        self._config = config
        self._store = store
        self._changes = changes
        self._naming = asyncio.Lock()

    async def get(self, slug: str) -> Tenant:
        """A tenant. Raises TenantMissing."""
        tenant = await self._store.get_tenant(slug)
        if tenant is None:
            raise TenantMissing(
                f"there is no tenant {slug!r}",
                fix=f"create it: waypost tenants add {slug}, or PUT /v1/tenants/{slug}",
            )
        return tenant

    async def list(self, *, after: str = "", limit: int = 100) -> list[Tenant]:
        """Tenants in order of slug."""
        return await self._store.list_tenants(after=after, limit=limit)

    async def put(
        self,
        slug: str,
        *,
        plan: str | None = None,
        status: TenantStatus | None = None,
        name: str | None = None,
    ) -> tuple[Tenant, bool]:
        """Create a tenant or change what is given; returns it and whether it is new."""
        if plan is not None and plan not in self._config.plans:
            known = ", ".join(sorted(self._config.plans))
            raise UnknownPlan(f"there is no plan {plan!r}", fix=f"choose one of: {known}")
        if name is not None and len(name) > MAX_NAME:
            raise ControlError(f"a tenant's name has at most {MAX_NAME} characters")
        async with self._naming:
            old = await self._store.get_tenant(slug)
            if old is None:
                await self._check_new(slug)
            tenant = Tenant(
                slug=slug,
                plan=plan or (old.plan if old else self._config.default_plan),
                status=status or (old.status if old else TenantStatus.ACTIVE),
                created_ms=old.created_ms if old else time.time_ns() // 1_000_000,
                name=name if name is not None else (old.name if old else ""),
            )
            # Saving retires the tenant's instances: not for nothing.
            if tenant != old:
                await self._save(tenant)
        return tenant, old is None

    async def delete(self, slug: str) -> None:
        """Remove a tenant with its scripts, hostnames and tokens. Raises TenantMissing."""
        async with self._naming:
            try:
                existed = await self._store.delete_tenant(slug)
            finally:
                self._changes.tenant_removed(slug)
        if not existed:
            raise TenantMissing(f"there is no tenant {slug!r}")

    async def owner_of(self, script: str) -> Tenant | None:
        """The tenant a script of this name belongs to; None when no tenant's slug matches."""
        for slug in owner_slugs(script):
            tenant = await self._store.get_tenant(slug)
            if tenant is not None:
                return tenant
        return None

    async def owner_or_new(self, script: str) -> Tenant:
        """The owner of a script name, or the tenant that using the name would create.

        Such a tenant is called like the part before the first hyphen and has the default plan; it
        is not stored here. Raises BadSlug when it could not be.
        """
        owner = await self.owner_of(script)
        if owner is not None:
            return owner
        slug = script.split("-", 1)[0]
        check_slug(self._config, slug)
        return Tenant(
            slug=slug,
            plan=self._config.default_plan,
            status=TenantStatus.ACTIVE,
            created_ms=time.time_ns() // 1_000_000,
        )

    @asynccontextmanager
    async def claim(self, script: str) -> AsyncIterator[Tenant]:
        """Hold a script name for its owner, whom no new tenant replaces meanwhile.

        The owner is stored when it is new.
        """
        async with self._naming:
            owner = await self.owner_or_new(script)
            if await self._store.get_tenant(owner.slug) is None:
                await self._check_new(owner.slug)
                with implied(Kind.TENANT, "tenant.put", owner.slug):
                    await self._save(owner)
            yield owner

    async def _save(self, tenant: Tenant) -> None:
        try:
            await self._store.put_tenant(tenant)
        finally:
            self._changes.tenant_changed(tenant.slug)

    async def _check_new(self, slug: str) -> None:
        check_slug(self._config, slug)
        taken = await self._taken_script(slug) or await self._taken_hostname(slug)
        if taken is not None:
            raise TenantConflict(
                f"tenant {slug!r} would take over {taken} of another tenant",
                fix="choose another slug, or delete that first",
            )

    async def _taken_script(self, slug: str) -> str | None:
        """A script of a shorter slug's that would belong to ``slug``."""
        stored = [namespace.name for namespace in await self._store.list_namespaces()]
        for namespace in {self._config.default_namespace, *stored}:
            if await self._store.get_script(ScriptKey(namespace, slug)) is not None:
                return f"script {slug!r}"
            async for script in self._scripts_below(namespace, f"{slug}-"):
                if len(script.tenant) < len(slug):
                    return f"script {script.key.name!r}"
        return None

    async def _scripts_below(self, namespace: str, prefix: str) -> AsyncIterator[Script]:
        after = prefix
        while True:
            page = await self._store.list_scripts(namespace, after=after, limit=_PAGE)
            for script in page:
                if not script.key.name.startswith(prefix):
                    return
                yield script
            if len(page) < _PAGE:
                return
            after = page[-1].key.name

    async def _taken_hostname(self, slug: str) -> str | None:
        """A hostname of another tenant's below the base domain that a script of ``slug`` has."""
        base = f".{self._config.routing.base_domain}"
        exact = f"hostname:{slug}{base}"
        if await self._store.get(exact) is not None:
            return f"hostname {slug + base!r}"
        prefix, after = f"hostname:{slug}-", ""
        while page := await self._store.list(prefix, after=after, limit=_PAGE):
            for key, _ in page:
                label = key.removeprefix("hostname:").removesuffix(base)
                if not key.endswith(base) or "." in label:
                    continue
                owner = await self.owner_of(label)
                if owner is None or len(owner.slug) < len(slug):
                    return f"hostname {label + base!r}"
            after = page[-1][0]
        return None


def check_slug(config: Config, slug: str) -> None:
    """Raise BadSlug, saying the rule, unless ``slug`` may name a tenant."""
    if not is_label(slug, longest=MAX_SLUG):
        raise BadSlug(
            f"{slug[:80]!r} cannot name a tenant",
            fix="use lower-case letters, digits and single hyphens between them, "
            f"at most {MAX_SLUG} characters",
        )
    if slug == PLATFORM or slug in config.routing.reserved_labels:
        raise BadSlug(f"the name {slug!r} is reserved", fix="choose another name")
