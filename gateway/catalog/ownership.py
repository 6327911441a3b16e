"""Whose a hostname is: a tenant that asks for one waits until it has shown that it is its own.

A claim is not a route: it serves nothing, gets no certificate, and keeps nobody else from claiming
the same name. Whoever shows first that the name is its own gets it. The operator's word is enough.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from gateway.catalog.errors import BadHostname
from gateway.model.claim import Claim
from gateway.model.route import HostnameRecord
from gateway.store.base import KeyValueStore

PREFIX: Final = "claim:"
MAX_CLAIMS: Final = 100
"""Hostnames of one tenant that wait at once."""
DAYS: Final = 14
"""How long a claim waits."""
_PAGE: Final = 100

_decoder = msgspec.json.Decoder(Claim)


class Claims:
    """The claims of tenants."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    async def open(self, hostname: str, record: HostnameRecord) -> Claim:
        """Note that a tenant wants a hostname; one that it wants already keeps its proof.

        Raises BadHostname when too many of the tenant's wait.
        """
        old = await self.get(hostname, record.tenant)
        if old is None and len(await self.list(record.tenant, limit=MAX_CLAIMS)) >= MAX_CLAIMS:
            raise BadHostname(
                f"{MAX_CLAIMS} hostnames of this tenant wait to be verified",
                fix="verify or remove some of them",
            )
        claim = Claim(
            id=old.id if old else uuid.uuid4().hex,
            proof=old.proof if old else str(uuid.uuid4()),
            worker_name=record.worker_name,
            namespace=record.namespace,
            tenant=record.tenant,
            created_ms=time.time_ns() // 1_000_000,
        )
        await self._store.put(_key(hostname, record.tenant), msgspec.json.encode(claim))
        return claim

    async def get(self, hostname: str, tenant: str) -> Claim | None:
        """A tenant's claim; None when there is none, or it is too old."""
        return _read(await self._store.get(_key(hostname, tenant)))

    async def pages(self) -> AsyncIterator[list[tuple[str, Claim]]]:
        """Hostnames and claims of all tenants, a page at a time; what is too old is removed."""
        after = PREFIX
        while rows := await self._store.list(PREFIX, after=after, limit=_PAGE):
            found = [(key, _read(value)) for key, value in rows]
            for key, claim in found:
                if claim is None:
                    await self._store.delete(key)
            yield [(key.rpartition(":")[2], claim) for key, claim in found if claim is not None]
            after = rows[-1][0]

    async def list(
        self, tenant: str | None, *, after: str = "", limit: int = 100
    ) -> list[tuple[str, Claim]]:
        """Hostnames and claims of a tenant in order; of all tenants when it is None."""
        prefix = _key("", tenant) if tenant else PREFIX
        rows = await self._store.list(prefix, after=prefix + after, limit=limit)
        found = ((key.rpartition(":")[2], _read(value)) for key, value in rows)
        return [(hostname, claim) for hostname, claim in found if claim is not None]

    async def close(self, hostname: str, tenant: str) -> bool:
        """Forget a claim; False when there was none."""
        return await self._store.delete(_key(hostname, tenant))


def _key(hostname: str, tenant: str) -> str:
    return f"{PREFIX}{tenant}:{hostname}"


def _read(value: bytes | None) -> Claim | None:
    if value is None:
        return None
    claim = _decoder.decode(value)
    age_ms = time.time_ns() // 1_000_000 - claim.created_ms
    return claim if age_ms < DAYS * 86_400_000 else None
