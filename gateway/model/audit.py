"""Who changed what, when, from where."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.model.script import Script, ScriptKey


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
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    before: int | None = None
    """Only entries with a smaller number: the cursor of the next page."""


@dataclass(slots=True)
class Intent:
    """The entry of a change of a script that is about to be made.

    The store adds it in the transaction of the change, so that neither can be there without the
    other, whatever becomes of the process.
    """

    key: ScriptKey
    entry: AuditEntry
    noted: bool = False
    """The entry was part of a transaction."""

    def made(self, script: Script | None) -> AuditEntry:
        """The entry, of a change that leaves this; None: nothing."""
        before, after = self.entry.before, script_state(script) if script is not None else None
        same = before == after
        return msgspec.structs.replace(
            self.entry,
            tenant=self.entry.tenant or (before or after or {}).get("tenant"),
            before=None if same else before,
            after=None if same else after,
        )


INTENT: Final[ContextVar[Intent | None]] = ContextVar("audit_intent", default=None)
"""What the task at hand is about to change."""


def script_state(script: Script) -> dict[str, Any]:
    """A script as entries show it: whatever a change may change, and no secret."""
    return {
        "tenant": script.tenant,
        "version": script.version_id,
        "etag": script.etag,
        "tags": list(script.tags),
        "limits": script.limits,
        "split": {share.version_id: share.percentage for share in script.split},
    }
