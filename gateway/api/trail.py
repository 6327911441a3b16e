"""The trail of a change: who made it, from where, and what else is to be known of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from gateway.errors import ControlError, StoreTrouble
from gateway.model.audit import INTENT, MAX_TARGET, AuditEntry, Intent, Kind

if TYPE_CHECKING:
    from gateway.api.endpoint import Call

SAFE: Final = frozenset({"GET", "HEAD"})
_FORBIDDEN: Final = (403, 409)
_PLANS: Final = frozenset({"route.plan"})
"""What only tells what a change would do."""
_KINDS: Final = {
    "script": Kind.SCRIPT,
    "version": Kind.SCRIPT,
    "secret": Kind.SCRIPT,
    "token": Kind.TOKEN,
    "tenant": Kind.TENANT,
    "route": Kind.HOSTNAME,
    "namespace": Kind.NAMESPACE,
    "key": Kind.KEYS,
}
"""By the first word of the action. What is of no kind is not stored, such as a tail."""
_STATUSES: Final = {Kind.TENANT: (201, 204), Kind.TOKEN: (201, 204), Kind.HOSTNAME: (200, 204)}
"""Of answers that create and that remove; 200 where nothing else is said."""


@dataclass(slots=True)
class Trail:
    """What a handler adds to the entry of its change, before it makes it."""

    detail: dict[str, Any] = field(default_factory=dict)


async def recorded(call: Call, action: str, work: Callable[[], Awaitable[Response]]) -> Response:
    """Do a change and write it down: when it was made, when it was forbidden, when we failed.

    What is stored is noted by the store in the same transaction; here are told the requests that
    stored nothing. The entry is on disk before the answer, also when the client has gone away.
    """
    intent = _intent(call, action)
    reset = INTENT.set(intent)
    status, storing = 500, True
    try:
        response = await work()
        status = response.status_code
        return response
    except ControlError as error:
        status = error.status
        # Neither would the entry be stored, and to find out takes as long again.
        storing = not isinstance(error, StoreTrouble)
        raise
    finally:
        INTENT.reset(reset)
        noted = action in _PLANS or (intent is not None and intent.noted)
        told = (status < 400 and not noted) or status in _FORBIDDEN or status >= 500
        if told and storing:
            await asyncio.shield(asyncio.ensure_future(_write(call, action, status)))


def _intent(call: Call, action: str) -> Intent | None:
    """What the store is to note."""
    kind = _KINDS.get(action.partition(".")[0])
    if kind is None:
        return None
    entry, given = _entry(call, action, 200), call.request.path_params
    if action == "route.bulk":
        return Intent(Kind.HOSTNAMES, entry, "")
    if action in ("script.delete_tagged", "route.domains"):
        return Intent(kind, entry, many=True)
    # A hostname is stored in another spelling than it may be asked for.
    names: dict[Kind, Any] = {
        Kind.SCRIPT: _target(call),
        Kind.TOKEN: given.get("token"),
        Kind.TENANT: given.get("slug"),
        Kind.HOSTNAME: None,
        Kind.NAMESPACE: given.get("namespace"),
        Kind.KEYS: "",
    }
    # Cloudflare's paths answer 200, whatever is done
    created, removed = (200, 200) if "account" in given else _STATUSES.get(kind, (200, 200))
    return Intent(kind, entry, names[kind], created=created, removed=removed)


async def _write(call: Call, action: str, status: int) -> None:
    entry = _entry(call, action, status)
    owner = entry.tenant or await _owner(call)
    await call.services.audit.add_audit(msgspec.structs.replace(entry, tenant=owner))


def _entry(call: Call, action: str, status: int) -> AuditEntry:
    who = call.principal
    return AuditEntry(
        at_ms=time.time_ns() // 1_000_000,
        actor=who.token_id,
        actor_tenant=who.tenant,
        actor_label=who.label,
        address=call.address,
        action=action,
        target=_target(call)[:MAX_TARGET],
        # to a tenant, another's does not exist: what it tried is told of itself only
        tenant=who.tenant or call.request.path_params.get("slug"),
        status=status,
        detail=call.trail.detail,
    )


def _target(call: Call) -> str:
    given = call.request.path_params
    if "name" in given:
        return "/".join(call.script_key)
    names = ("slug", "token", "hostname", "namespace")
    return "/".join(str(given[name]) for name in names if name in given)


async def _owner(call: Call) -> str | None:
    """Whose that is which the path names; None where it is nobody's."""
    given = call.request.path_params
    try:
        if "name" in given:
            scope = call.account_scope if "account" in given else call.scope
            script = await call.services.scripts.get(call.script_key, scope=scope)
            return script.tenant
        if "hostname" in given:
            routed = await call.services.hostnames.get(call.path("hostname"), scope=call.scope)
            return routed.record.tenant
    except ControlError:
        pass
    return None
