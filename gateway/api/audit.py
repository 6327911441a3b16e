"""The audit log, newest entry first."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.accounts import Scope
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import plain
from gateway.api.present import timestamp
from gateway.api.services import Services
from gateway.model.audit import AuditEntry, AuditQuery


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [endpoint(services, "/v1/audit", "GET", _list, need=Scope.ADMIN)]


async def _list(call: Call) -> Response:
    """List changes; a tenant sees those of its own things, made since it exists."""
    limit = call.count("limit", 100)
    tenant = call.query("tenant") or None
    since_ms = 0
    if call.scope is not None:
        call.require_tenant(tenant or call.scope)
        found = await call.services.tenants.get(call.scope)
        tenant, since_ms = found.slug, found.created_ms
    query = AuditQuery(
        tenant=tenant,
        since_ms=since_ms,
        actor=call.query("actor") or None,
        action=call.query("action") or None,
        target=call.query("target") or None,
        before=call.count("before", 1, most=2**53) if call.query("before") else None,
    )
    entries = await call.services.audit.list_audit(query, limit=limit)
    following = entries[-1].number if len(entries) == limit else None
    return plain({"entries": [_entry_json(item) for item in entries], "before": following})


def _entry_json(entry: AuditEntry) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(entry)
    shown["at"] = timestamp(shown.pop("at_ms"))
    return {"number": entry.number, "status": entry.status, **shown}
