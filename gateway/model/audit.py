"""Who changed what, when, from where."""

from __future__ import annotations

from typing import Any

import msgspec


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
