"""Tokens of tenants and of the operator: what each may do, and until when."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.accounts import Grant, Issued, Scope
from gateway.api.body import read_json
from gateway.api.endpoint import Call, endpoint
from gateway.api.errors import BadBody
from gateway.api.faces import plain
from gateway.api.present import token_json
from gateway.api.services import Services

OURS: Final = "/v1/tokens"
TENANTS: Final = "/v1/tenants/{slug}/tokens"


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a POST; what is absent takes its default."""

    label: str = ""
    scope: Scope | None = None
    script: str | None = None
    expires_on: datetime | None = None


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        route
        for base in (TENANTS, OURS)
        for route in (
            endpoint(services, base, "GET", _list, need=Scope.ADMIN),
            endpoint(services, base, "POST", _issue, need=Scope.ADMIN),
            endpoint(services, f"{base}/{{token}}/rotate", "POST", _rotate, need=Scope.ADMIN),
            endpoint(services, f"{base}/{{token}}", "DELETE", _revoke, need=Scope.ADMIN),
        )
    ]


async def _list(call: Call) -> Response:
    """List tokens, never their secret."""
    tokens = await call.services.tokens.list(await _owner(call))
    return plain({"tokens": [token_json(token) for token in tokens]})


async def _issue(call: Call) -> Response:
    """Create a token; its secret is answered this once."""
    owner = await _owner(call)
    body = await read_json(call.request, TokenBody, optional=True)
    grant = Grant(body.label, body.scope, body.script, _milliseconds(body.expires_on))
    issued = await call.services.tokens.issue(owner, grant)
    return plain(_issued_json(issued), status=201)


async def _rotate(call: Call) -> Response:
    """Give a token another secret; the old one is refused from now on."""
    issued = await call.services.tokens.rotate(await _owner(call), call.path("token"))
    return plain(_issued_json(issued))


async def _revoke(call: Call) -> Response:
    """Revoke a token; it is refused from now on."""
    await call.services.tokens.revoke(await _owner(call), call.path("token"))
    return Response(status_code=204)


async def _owner(call: Call) -> str | None:
    """The tenant whose tokens the path means; None for the operator's."""
    slug = call.request.path_params.get("slug")
    if slug is None:
        call.require_operator()
        return None
    call.require_tenant(str(slug))
    return (await call.services.tenants.get(str(slug))).slug


def _issued_json(issued: Issued) -> dict[str, object]:
    return {**token_json(issued.stored), "token": issued.token}


def _milliseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise BadBody("expires_on has no time zone", fix="write 2030-01-31T00:00:00Z")
    return int(moment.timestamp() * 1000)
