"""Hostnames: which there may be, whose they are, and where they lead."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import idna
import msgspec

from gateway.catalog.errors import (
    BadHostname,
    HostnameForeign,
    HostnameMissing,
)
from gateway.catalog.namespaces import check_namespace
from gateway.catalog.owners import Owners, owner_within
from gateway.catalog.ownership import Claims
from gateway.config import Config
from gateway.errors import ControlError
from gateway.model.claim import Claim, NoProofs, Proofs
from gateway.model.route import HostnameRecord
from gateway.observer import Changes
from gateway.store.base import CatalogStore, HostnameStore, KeyValueStore

PREFIX: Final = "hostname:"
MAX_HOSTNAME: Final = 253
_PLAIN: Final = re.compile(
    r"(?!.*(?:^|\.)..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII,
)
"""Lower-case A-labels that need no IDNA."""
_decoder = msgspec.json.Decoder(HostnameRecord)


class RoutedHostname(NamedTuple):
    """A hostname and where it leads."""

    hostname: str
    record: HostnameRecord
    claim: Claim | None = None
    """Set while it leads there only once its tenant has shown that it is its own."""
    problem: str = ""
    """Why that is not shown yet, where it was looked for."""


class HostnamesStore(KeyValueStore, HostnameStore, CatalogStore, Protocol):
    """What hostnames need of the store."""


def canonical_hostname(hostname: str) -> str:
    """Lower-case A-labels without a trailing dot. Raises BadHostname, saying what is wrong."""
    name = hostname.strip().removesuffix(".")
    if ":" in name or "/" in name:
        raise _bad(hostname, "it has a port or a scheme", "give the bare hostname")
    lower = name.lower()
    if not _PLAIN.fullmatch(lower):
        try:
            lower = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise _bad(hostname, str(error), "give a name such as shop.example.com") from None
    if lower.endswith("."):
        raise _bad(hostname, "it ends with more than one dot", "give a name such as shop.example")
    if len(lower) > MAX_HOSTNAME:
        raise _bad(hostname, f"it is longer than {MAX_HOSTNAME} characters", "shorten it")
    with suppress(ValueError):
        ipaddress.ip_address(lower)
        raise _bad(hostname, "it is an IP address", "give a name")
    return lower


class Hostnames:
    """Sets, reads and removes routes. ``scope``: the only tenant to act for, None for all."""

    def __init__(
        self, config: Config, store: HostnamesStore, owners: Owners, changes: Changes
    ) -> None:
        self._config = config
        self._store = store
        self._owners = owners
        self._changes = changes
        self.proofs: Proofs = NoProofs()
        self._claims = Claims(store)

    async def get(self, hostname: str, *, scope: str | None) -> RoutedHostname:
        """A route. Raises HostnameMissing, also when it is another tenant's."""
        name = canonical_hostname(hostname)
        record = await self._record(name)
        if record is not None and scope in (None, record.tenant):
            return RoutedHostname(name, record)
        claim = await self._claims.get(name, scope) if scope is not None else None
        if claim is None:
            raise HostnameMissing(
                f"hostname {name!r} is not routed", fix=f"route it: PUT /v1/routes/{name}"
            )
        return RoutedHostname(name, claim.record, claim)

    async def put(
        self, hostname: str, script: str, namespace: str | None = None, *, scope: str | None
    ) -> RoutedHostname:
        """Route a hostname to a script, which need not be deployed yet.

        A tenant's custom hostname waits until it is verified, unless it is the tenant's already.
        """
        name = self.checked(hostname)
        namespace = namespace or self._config.default_namespace
        await self.check_namespace(namespace)
        await owner_within(self._owners, script, scope)
        if scope is not None:
            await self._check_own_label(name, scope)
        async with self._owners.claim(script) as owner:
            existing = await self._record(name)
            record = HostnameRecord(script, namespace, owner.slug)
            if scope is not None and (existing is None or existing.tenant != scope):
                # That it is taken is told to whoever shows that it is its own.
                if owner.slug == scope and self._needs_proof(name):
                    return RoutedHostname(name, record, await self._claims.open(name, record))
                if owner.slug != scope or existing is not None:
                    raise _not_available(name)
            await self._route(name, record)
        return RoutedHostname(name, record)

    async def verify(self, hostname: str, *, scope: str | None) -> RoutedHostname:
        """Look whether a hostname that waits is shown to be its tenant's; if so, it is routed.

        Raises HostnameMissing when it does not wait, and HostnameForeign when another has it.
        """
        found = await self.get(hostname, scope=scope)
        if found.claim is None:
            return found
        problem = await self.proofs.missing(found.hostname, found.claim)
        if problem:
            return found._replace(problem=problem)
        async with self._owners.claim(found.record.worker_name) as owner:
            again = await self.get(hostname, scope=scope)
            if again.claim is None:
                return again
            if again.claim.proof != found.claim.proof or owner.slug != again.record.tenant:
                raise HostnameMissing(f"hostname {found.hostname!r} was claimed anew")
            if await self._record(again.hostname) is not None:
                raise _not_available(again.hostname)
            await self._route(again.hostname, again.record)
        return RoutedHostname(again.hostname, again.record)

    async def waiting(
        self, *, scope: str | None, after: str = "", limit: int = 100
    ) -> list[RoutedHostname]:
        """Hostnames that wait to be verified; of all tenants when ``scope`` is None."""
        found = await self._claims.list(scope, after=after, limit=limit)
        return [RoutedHostname(name, claim.record, claim) for name, claim in found]

    def claims(self) -> AsyncIterator[list[tuple[str, Claim]]]:
        """All that waits, a page at a time, for whoever looks at it unasked."""
        return self._claims.pages()

    async def _route(self, name: str, record: HostnameRecord) -> None:
        try:
            await self._store.put(PREFIX + name, msgspec.json.encode(record))
        finally:
            self._changes.hostname_changed(name)
        # Whoever dies in between leaves a claim that nothing comes of.
        if await self._claims.get(name, record.tenant) is not None:
            await self._claims.close(name, record.tenant)

    async def delete(self, hostname: str, *, scope: str | None) -> None:
        """Remove a route. Raises HostnameMissing."""
        found = await self.get(hostname, scope=scope)
        if found.claim is not None:
            await self._claims.close(found.hostname, found.record.tenant)
            return
        try:
            await self._store.delete(PREFIX + found.hostname)
        finally:
            self._changes.hostname_changed(found.hostname)

    async def list(
        self, *, scope: str | None, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[RoutedHostname]:
        """Routes in order of hostname."""
        if scope is not None:
            rows = await self._store.list_hostnames(scope, prefix=prefix, after=after, limit=limit)
        else:
            found = await self._store.list(PREFIX + prefix, after=PREFIX + after, limit=limit)
            rows = [(key.removeprefix(PREFIX), value) for key, value in found]
        return [RoutedHostname(name, decode_record(value)) for name, value in rows]

    def checked(self, hostname: str) -> str:
        """The canonical hostname. Raises BadHostname when the platform keeps it for itself."""
        name = canonical_hostname(hostname)
        routing = self._config.routing
        label = self._label(name)
        if label in routing.reserved_labels:
            raise _bad(
                hostname, f"{label!r} is reserved below {routing.base_domain}", "use another"
            )
        if routing.functions_domain and name == routing.functions_domain.lower():
            raise _bad(hostname, "it serves functions by path", "use another hostname")
        return name

    async def check_namespace(self, name: str) -> None:
        """Raise NamespaceMissing unless there is such a namespace."""
        await check_namespace(self._config, self._store, name)

    async def _record(self, name: str) -> HostnameRecord | None:
        value = await self._store.get(PREFIX + name)
        return None if value is None else decode_record(value)

    def _label(self, name: str) -> str | None:
        """The label next to the base domain; None when the name is not below it."""
        base = "." + self._config.routing.base_domain.lower()
        return name.removesuffix(base).rsplit(".", 1)[-1] if name.endswith(base) else None

    def _needs_proof(self, name: str) -> bool:
        """Below the base domain a name says itself whose it is."""
        return self._config.hostnames.verification != "off" and self._label(name) is None

    async def _check_own_label(self, name: str, scope: str) -> None:
        """Below the base domain a tenant may only route ``{script}.{base}`` of its own scripts."""
        functions = self._config.routing.functions_domain.lower()
        if functions and name.endswith(f".{functions}"):
            raise _not_available(name)
        base = self._config.routing.base_domain.lower()
        label = name.removesuffix(f".{base}")
        if name == base or (label != name and "." in label):
            raise _not_available(name)
        if label == name:
            return
        try:
            await owner_within(self._owners, label, scope)
        except ControlError:
            raise _not_available(name) from None


def decode_record(value: bytes) -> HostnameRecord:
    """A record as stored; one that is not JSON of the expected shape leads nowhere."""
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return HostnameRecord("")


def _bad(hostname: str, why: str, fix: str) -> BadHostname:
    return BadHostname(f"hostname {hostname[:80]!r} cannot be routed: {why}", fix=fix)


def _not_available(name: str) -> HostnameForeign:
    return HostnameForeign(
        f"hostname {name!r} is not available to this tenant", fix="choose another hostname"
    )
