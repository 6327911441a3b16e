"""The trail of a change: what was there before, what is there after, and who did it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from gateway.api.present import route_json, tenant_json, token_json
from gateway.errors import ControlError
from gateway.model.audit import INTENT, AuditEntry, Intent, script_state

if TYPE_CHECKING:
    from gateway.api.endpoint import Call

logger = logging.getLogger(__name__)

SAFE: Final = frozenset({"GET", "HEAD"})
_FORBIDDEN: Final = (403, 409)


@dataclass(slots=True)
class Trail:
    """What a handler adds to the entry of its change."""

    detail: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    """What was changed, where the path does not say it."""


async def recorded(call: Call, action: str, work: Callable[[], Awaitable[Response]]) -> Response:
    """Do a change and write it down: when it was made, when it was forbidden, when we failed.

    The entry is on disk before the change is answered, also when the client has gone away.
    """
    before = await _snapshot(call)
    intent = _intent(call, action, before)
    reset = INTENT.set(intent)
    status = 500
    try:
        response = await work()
        status = response.status_code
        return response
    except ControlError as error:
        status = error.status
        raise
    finally:
        INTENT.reset(reset)
        noted = intent is not None and intent.noted
        if (status < 400 and not noted) or status in _FORBIDDEN or status >= 500:
            await asyncio.shield(asyncio.ensure_future(_write(call, action, status, before)))


def _intent(call: Call, action: str, before: dict[str, Any] | None) -> Intent | None:
    """What is to be written down with the change itself, where it is one of a script."""
    if "name" not in call.request.path_params:
        return None
    # the handler adds to the detail until the change is made
    entry = msgspec.structs.replace(_entry(call, action, 200), before=before)
    return Intent(call.script_key, entry)


async def _write(call: Call, action: str, status: int, before: dict[str, Any] | None) -> None:
    after = await _snapshot(call) if status < 400 or status >= 500 else before
    same = before == after
    entry = _entry(call, action, status)
    await call.services.audit.add_audit(
        msgspec.structs.replace(
            entry,
            tenant=entry.tenant or (before or after or {}).get("tenant"),
            before=None if same else before,
            after=None if same else after,
        )
    )


def _entry(call: Call, action: str, status: int) -> AuditEntry:
    who = call.principal
    return AuditEntry(
        at_ms=time.time_ns() // 1_000_000,
        actor=who.token_id,
        actor_tenant=who.tenant,
        actor_label=who.label,
        address=call.address,
        action=action,
        target=call.trail.target or _target(call),
        # to a tenant, another's does not exist: what it tried is told of itself only
        tenant=who.tenant or call.request.path_params.get("slug"),
        status=status,
        detail=call.trail.detail,
    )


def _target(call: Call) -> str:
    given = call.request.path_params
    if "name" in given:
        target = "/".join(call.script_key)
    else:
        names = ("slug", "token", "hostname", "namespace")
        target = "/".join(str(given[name]) for name in names if name in given)
    return target[:300]


async def _snapshot(call: Call) -> dict[str, Any] | None:
    """The state of what the path names, without any secret; None where there is nothing."""
    given = call.request.path_params
    try:
        for name, read in _READERS.items():
            if name in given:
                return await read(call)
    except ControlError:
        return None
    return None


async def _script(call: Call) -> dict[str, Any]:
    return script_state(await call.services.scripts.get(call.script_key, scope=call.account_scope))


async def _token(call: Call) -> dict[str, Any]:
    slug = call.request.path_params.get("slug")
    shown = token_json(await call.services.tokens.get(slug, call.path("token")))
    del shown["last_used_on"]
    return shown


async def _tenant(call: Call) -> dict[str, Any]:
    return tenant_json(await call.services.tenants.get(call.path("slug")))


async def _route(call: Call) -> dict[str, Any]:
    routed = await call.services.hostnames.get(call.path("hostname"), scope=call.scope)
    return route_json(routed)


async def _namespace(call: Call) -> dict[str, Any]:
    found = await call.services.namespaces.get(call.path("namespace"))
    return {"id": found.id, "name": found.name}


_READERS: Final[dict[str, Callable[[Call], Awaitable[dict[str, Any]]]]] = {
    "name": _script,
    "token": _token,
    "slug": _tenant,
    "hostname": _route,
    "namespace": _namespace,
}
