"""What the control API is given: the use-cases it puts on HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request

from gateway.accounts import Tenants, Tokens
from gateway.api.guard import Guard
from gateway.catalog import (
    BulkRoutes,
    Deploys,
    Hostnames,
    KeyedLocks,
    Launcher,
    Namespaces,
    PreviewSwitch,
    Schedules,
    Scripts,
    Serving,
    Versions,
)
from gateway.config import Config
from gateway.observer import Changes
from gateway.store.base import AuditStore, SecretStore, Store
from gateway.telemetry.endings import Endings, told_too
from gateway.telemetry.sessions import Sessions
from gateway.telemetry.tail import Wanted


def peer_address(request: Request) -> str:
    """The address at the other end of the connection."""
    return request.client.host if request.client is not None else ""


def named_origin(request: Request) -> tuple[str, str]:
    """Scheme and authority as the client named them."""
    return request.url.scheme, request.headers.get("host", "")


class TailSubscription(Protocol):
    """Events of one subscriber, each one JSON object as bytes."""

    @property
    def dropped(self) -> int:
        """Events lost so far because the subscriber was too slow."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over events as they come."""

    def more(self) -> list[bytes]:
        """Those after it that may be had without waiting."""


class TailSource(Protocol):
    """Where live events come from."""

    def subscribe(
        self,
        *,
        script: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        wanted: Wanted | None = None,
    ) -> AbstractAsyncContextManager[TailSubscription]:
        """Events of one script, or of all scripts of a tenant, while the context is open.

        ``wanted``: which of them.

        Raises WaypostError when too many listen.
        """


async def for_nobody(domain: str) -> bool | None:
    """No name may have a certificate."""
    return False


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that an endpoint may call."""

    config: Config
    secret_keys: SecretStore
    audit: AuditStore
    guard: Guard
    tokens: Tokens
    tenants: Tenants
    namespaces: Namespaces
    deploys: Deploys
    versions: Versions
    scripts: Scripts
    hostnames: Hostnames
    previews: PreviewSwitch
    schedules: Schedules
    bulk_routes: Callable[[], BulkRoutes]
    tail: TailSource
    sessions: Sessions
    endings: Endings
    render_metrics: Callable[[], Awaitable[bytes]]
    readiness: Callable[[], tuple[bool, dict[str, Any]]]

    address_of: Callable[[Request], str] = peer_address
    """Where a request came from, the operator's proxies left out."""
    origin_of: Callable[[Request], tuple[str, str]] = named_origin
    """Scheme and authority that a request was sent to, the operator's proxies left out."""
    may_have_certificate: Callable[[str], Awaitable[bool | None]] = for_nobody
    """Whether a TLS front may get a certificate for a name; None: asked too often."""

    def email(self, account: str) -> str:
        """The address that clients show for an account; nobody reads mail there."""
        return f"{account}@{self.config.routing.base_domain}"

    @classmethod
    def build(
        cls,
        *,
        config: Config,
        store: Store,
        changes: Changes,
        launcher: Launcher,
        tail: TailSource,
        render_metrics: Callable[[], Awaitable[bytes]],
        readiness: Callable[[], tuple[bool, dict[str, Any]]],
    ) -> Services:
        """Introduce the use-cases to each other, over one store."""
        endings = Endings()
        changes = told_too(changes, endings)
        tenants = Tenants(config, store, changes)
        locks = KeyedLocks()
        serving = Serving(config, store, tenants, launcher, changes, locks)
        hostnames = Hostnames(config, store, tenants, changes)

        def bulk_routes() -> BulkRoutes:
            return BulkRoutes(hostnames, store, tenants, changes, config.default_namespace)

        return cls(
            config=config,
            secret_keys=store,
            audit=store,
            guard=Guard(config.control),
            tokens=Tokens(store, endings.token_revoked),
            tenants=tenants,
            namespaces=Namespaces(config, store),
            deploys=Deploys(config, store, serving),
            versions=Versions(config, store, serving),
            scripts=Scripts(store, changes, locks),
            hostnames=hostnames,
            previews=PreviewSwitch(store, changes, locks),
            schedules=Schedules(config, store, tenants, locks),
            bulk_routes=bulk_routes,
            tail=tail,
            sessions=Sessions(),
            endings=endings,
            render_metrics=render_metrics,
            readiness=readiness,
        )
