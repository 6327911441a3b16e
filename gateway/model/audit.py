"""Who changed what, when, from where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.model.script import Namespace, Script, Tenant

State = dict[str, Any] | None
PLATFORM: Final = "platform"
"""The actor of what the platform does by itself."""
PRUNED: Final = "audit.prune"
"""What removed entries that were old enough."""
MAX_TARGET: Final = 300
"""Longest target, characters."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change that was made, or that a token was not allowed to make."""

    number: int = 0
    """Counts up; given by the store."""
    at_ms: int
    actor: str
    """Id of the token; ``platform`` for what the platform does by itself."""
    actor_tenant: str | None = None
    """The token's tenant; None for the operator."""
    actor_label: str = ""
    address: str = ""
    """Where the request came from."""
    action: str
    """What was done: ``script.deploy``, ``token.create``, …"""
    target: str
    """What it was done to, as a path: ``production/acme-shop``, ``acme``, a hostname."""
    tenant: str | None = None
    """Whose that is; None for the platform's own."""
    status: int = 200
    """HTTP status of the answer."""
    detail: dict[str, Any] = {}
    """What else is to be known, such as names of secrets; never a secret."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to list; what is None is not asked for."""

    tenant: str | None = None
    since_ms: int = 0
    until_ms: int | None = None
    """Only what was before this moment."""
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    before: int | None = None
    """Only entries with a smaller number: the cursor of the next page."""
    after: int | None = None
    """Only entries with a greater number, the oldest of them first."""


class Kind(StrEnum):
    """What a change is made to."""

    SCRIPT = "script"
    TENANT = "tenant"
    TOKEN = "token"  # noqa: S105
    HOSTNAME = "hostname"
    HOSTNAMES = "hostnames"
    """Many at once."""
    NAMESPACE = "namespace"
    KEYS = "keys"


@dataclass(slots=True)
class Intent:
    """The entry of a change that is about to be made.

    The store adds it in the transaction of the change, so that neither can be there without the
    other, whatever becomes of the process.
    """

    kind: Kind
    entry: AuditEntry
    name: str | None = None
    """What is changed; None: whatever is, and its name becomes the target of the entry."""
    many: bool = False
    """Several may be changed, each with an entry of its own."""
    created: int = 200
    """Status of the answer when it was not there before."""
    removed: int = 200
    """Status of the answer when it is not there any more."""
    noted: bool = False
    """The entry was part of a transaction."""

    def awaits(self, kind: Kind, name: str) -> bool:
        """Whether a change of this is the one that is meant, and has still to be noted."""
        same = self.kind is kind and self.name in (None, name)
        return same and (self.many or not self.noted)

    def made(self, name: str, before: State, after: State) -> AuditEntry:
        """The entry, of a change from one state to another; None: there is nothing."""
        same = before == after
        status = self.entry.status
        if not same and None in (before, after):
            status = self.created if before is None else self.removed
        return msgspec.structs.replace(
            self.entry,
            status=status,
            target=self.entry.target if self.name is not None else name[:MAX_TARGET],
            tenant=self.entry.tenant or (before or after or {}).get("tenant"),
            before=None if same else before,
            after=None if same else after,
        )


INTENT: Final[ContextVar[Intent | None]] = ContextVar("audit_intent", default=None)
"""What the task at hand is about to change."""


@contextmanager
def implied(kind: Kind, action: str, name: str) -> Iterator[None]:
    """What is changed here is so because of the change at hand, and has an entry of its own."""
    intent = INTENT.get()
    if intent is None:
        yield
        return
    entry = msgspec.structs.replace(
        intent.entry,
        action=action,
        target=name,
        tenant=intent.entry.tenant or name,
        detail={"because": intent.entry.action},
        before=None,
    )
    reset = INTENT.set(Intent(kind, entry, name))
    try:
        yield
    finally:
        INTENT.reset(reset)


def script_state(script: Script) -> dict[str, Any]:
    """A script as entries show it: whatever a change may change, and no secret."""
    return {
        "tenant": script.tenant,
        "version": script.version_id,
        "etag": script.etag,
        "tags": list(script.tags),
        "limits": script.limits,
        "split": {share.version_id: share.percentage for share in script.split},
        "previews": script.previews,
        "crons": [cron.cron for cron in script.crons],
    }


def tenant_state(tenant: Tenant) -> dict[str, Any]:
    """A tenant as entries show it."""
    return {
        "slug": tenant.slug,
        "plan": tenant.plan,
        "status": tenant.status.value,
        "name": tenant.name,
    }


def namespace_state(namespace: Namespace) -> dict[str, Any]:
    """A dispatch namespace as entries show it."""
    return {"id": namespace.id, "name": namespace.name}
