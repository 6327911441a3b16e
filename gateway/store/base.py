"""One small protocol per aggregate; one contract suite runs over every backend.

The routing KV holds ``hostname:<host>`` → JSON ``{"workerName", "namespace", "tenant"}`` and
``plan:<tenant>`` → plan name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from gateway.model.audit import AuditEntry, AuditQuery
from gateway.model.script import (
    Bytecode,
    Cron,
    Deployment,
    Namespace,
    Script,
    ScriptKey,
    Tenant,
    Version,
)


class KeyValueStore(Protocol):
    """The routing KV: ordered string keys, small byte values."""

    async def get(self, key: str) -> bytes | None:
        """Value of ``key``, None when absent."""

    async def put(self, key: str, value: bytes) -> None:
        """Set ``key``; durable when it returns."""

    async def put_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Set many keys in one transaction: all or none."""

    async def delete(self, key: str) -> bool:
        """Remove ``key``; False when it was absent."""

    async def list(
        self, prefix: str, *, after: str = "", limit: int = 100
    ) -> list[tuple[str, bytes]]:
        """Keys that start with ``prefix`` and sort after ``after``, in order."""


class HostnameStore(Protocol):
    """The hostname records of the routing KV, by tenant."""

    async def list_hostnames(
        self, tenant: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[tuple[str, bytes]]:
        """``(hostname, value)`` of one tenant, by prefix, after ``after``, in order."""


class NamespaceStore(Protocol):
    """What managing namespaces needs beyond reading them."""

    async def delete_namespace(self, name: str) -> bool:
        """Remove a namespace without scripts; False when it is absent or has some."""

    async def rename_namespace(self, name: str, new: str) -> bool:
        """Rename a namespace without scripts; False when it is absent or has some."""

    async def count_scripts(self, namespace: str) -> int:
        """Number of scripts in a namespace."""


class CatalogStore(Protocol):
    """Namespaces, scripts and their versions."""

    async def put_namespace(self, namespace: Namespace) -> None:
        """Create or rename a namespace."""

    async def get_namespace(self, name: str) -> Namespace | None:
        """A namespace by name."""

    async def list_namespaces(self) -> list[Namespace]:
        """All namespaces, by name."""

    async def get_script(self, key: ScriptKey) -> Script | None:
        """What the resolver needs of a script, without its code."""

    async def list_scripts(
        self, namespace: str, *, tenant: str | None = None, after: str = "", limit: int = 100
    ) -> list[Script]:
        """Scripts of a namespace in order of name, of one tenant when given."""

    async def put_tags(self, key: ScriptKey, tags: tuple[str, ...]) -> Script | None:
        """Replace a script's tags; None when it is absent."""

    async def put_version(self, version: Version) -> Script:
        """Store a version and make it the serving one, in one transaction."""

    async def get_version(self, version_id: str) -> Version | None:
        """A version with its code and bindings."""

    async def delete_script(self, key: ScriptKey) -> bool:
        """Remove a script and its versions; False when it was absent."""


class VersionStore(Protocol):
    """A script's versions beside the serving one, and which of them served when."""

    async def add_version(self, version: Version) -> Version:
        """Store a version that does not serve; returns it with its number."""

    async def list_versions(self, key: ScriptKey) -> list[Version]:
        """Versions of a script that are kept, newest first, without the content of modules."""

    async def serve_version(self, deployment: Deployment) -> Script | None:
        """Make stored versions serve; None when the script has not got one of them."""

    async def list_deployments(self, key: ScriptKey) -> list[Deployment]:
        """Deployments of versions that are kept, newest first."""


class BytecodeStore(Protocol):
    """What versions were compiled to; it goes with its version."""

    async def put_bytecode(self, version_id: str, bytecode: Bytecode) -> None:
        """Keep what a version was compiled to, instead of what there was; nothing without it."""

    async def get_bytecode(self, version_id: str, interpreter: str) -> Bytecode | None:
        """What a version was compiled to by an interpreter; None when it was not."""


class TriggerStore(Protocol):
    """What calls a script beside its own hostname: previews of its versions, and schedules."""

    async def find_scripts(self, namespace: str, names: Sequence[str]) -> list[Script]:
        """Those of the named scripts that exist, the longest name first."""

    async def find_preview(self, key: ScriptKey, prefix: str) -> Version | None:
        """The kept version whose id begins with ``prefix``, or the newest one of that alias.

        Without its code and secrets. None when there is none, or when several begin like that.
        """

    async def put_previews(self, key: ScriptKey, enabled: bool) -> Script | None:
        """Switch the previews of a script; None when it is absent."""

    async def put_crons(self, key: ScriptKey, crons: tuple[Cron, ...]) -> Script | None:
        """Replace a script's schedules; None when it is absent."""

    async def list_scheduled(self) -> list[tuple[ScriptKey, tuple[str, ...]]]:
        """Scripts that have schedules, with their expressions."""

    async def count_crons(self, tenant: str) -> int:
        """How many schedules the scripts of a tenant have."""

    async def claim_minute(self, minute: int) -> bool:
        """Take the schedules of a minute of Unix time upon oneself; False when that was done."""


class KeyUse(msgspec.Struct, frozen=True):
    """A key that secrets are sealed with."""

    id: str
    versions: int
    """Versions whose secrets are sealed with it."""
    current: bool


class SecretStore(Protocol):
    """The keys that secrets are sealed with; the secrets themselves come with their version."""

    async def list_keys(self) -> list[KeyUse]:
        """The keys that are in use, the current one first."""

    async def rotate_keys(self) -> int:
        """Seal all secrets again under the newest key; returns how many versions."""


class StoredToken(msgspec.Struct, frozen=True):
    """A bearer token as stored: never its secret."""

    id: str
    hash: str
    """Hex SHA-256 of the token; as it comes from the store, keyed with what only that knows."""
    tenant: str | None
    """None: the operator's."""
    created_ms: int
    label: str = ""
    scope: str = "deploy"
    """What it may do: ``admin``, ``deploy``, ``read`` or ``tail``."""
    script: str | None = None
    """The only script it may touch; None: every one of its tenant."""
    expires_ms: int | None = None
    used_ms: int | None = None
    """When it was last used, to about a minute."""


def token_state(token: StoredToken) -> dict[str, Any]:
    """A token as entries of the audit log show it: nothing that could be used as one."""
    return {
        "id": token.id,
        "tenant": token.tenant,
        "label": token.label,
        "scope": token.scope,
        "script": token.script,
        "expires_ms": token.expires_ms,
    }


class AccountStore(Protocol):
    """Tenants and tokens."""

    async def put_tenant(self, tenant: Tenant) -> None:
        """Create or change a tenant. Its plan is kept in the routing KV as ``plan:<slug>``."""

    async def get_tenant(self, slug: str) -> Tenant | None:
        """A tenant by slug."""

    async def list_tenants(self, *, after: str = "", limit: int = 100) -> list[Tenant]:
        """Tenants in order of slug."""

    async def delete_tenant(self, slug: str) -> bool:
        """Remove a tenant with its plan, tokens, scripts and hostnames; False when absent."""

    async def put_token(self, token: StoredToken) -> None:
        """Store a token, its hash under a key that is not in the database in clear."""

    async def find_token(self, token_hash: str) -> StoredToken | None:
        """A token by its hash."""

    async def list_tokens(self, tenant: str | None) -> list[StoredToken]:
        """Tokens of a tenant, or the operator's."""

    async def replace_token(self, token_id: str, token_hash: str) -> bool:
        """Give a token another secret; False when absent."""

    async def touch_token(self, token_id: str, used_ms: int) -> None:
        """Note when a token was used."""

    async def delete_token(self, token_id: str) -> bool:
        """Revoke a token; False when absent."""


class AuditStore(Protocol):
    """The audit log: entries are added and read, and removed when they are old; never changed."""

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add an entry; durable when it returns."""

    async def list_audit(self, query: AuditQuery, *, limit: int = 100) -> list[AuditEntry]:
        """Entries, newest first; with ``after`` oldest first."""

    async def prune_audit(self, before_ms: int, entry: AuditEntry) -> int:
        """Remove the oldest entries from before a moment, and add ``entry`` with their number.

        A part of them at a time: ask again until nothing is removed.
        """


class Store(
    KeyValueStore,
    HostnameStore,
    NamespaceStore,
    CatalogStore,
    VersionStore,
    BytecodeStore,
    TriggerStore,
    SecretStore,
    AccountStore,
    AuditStore,
    Protocol,
):
    """All aggregates of one node, and its life.

    Whatever is changed adds the entry that ``gateway.model.audit.INTENT`` asks for in its own
    transaction.
    """

    async def open(self) -> None:
        """Connect and migrate."""

    async def close(self) -> None:
        """Flush and disconnect."""
