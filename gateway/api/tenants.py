"""Tenants, their tokens, and the plans they may have."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import plain
from gateway.api.present import tenant_json
from gateway.api.services import Services
from gateway.model.script import TenantStatus

TENANTS: Final = "/v1/tenants"
TENANT: Final = f"{TENANTS}/{{slug}}"


class TenantBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a PUT; what is absent stays, or takes its default."""

    plan: str | None = None
    status: TenantStatus | None = None
    name: str | None = None


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, TENANTS, "GET", _list),
        endpoint(services, TENANT, "PUT", _put),
        endpoint(services, TENANT, "GET", _get),
        endpoint(services, TENANT, "DELETE", _delete),
        endpoint(services, "/v1/plans", "GET", _plans, about_account=True),
    ]


async def _list(call: Call) -> Response:
    limit = call.count("limit", 100)
    if call.principal.tenant is not None:
        tenants = [await call.services.tenants.get(call.principal.tenant)]
    else:
        tenants = await call.services.tenants.list(after=call.query("after"), limit=limit)
    following = tenants[-1].slug if len(tenants) == limit else ""
    return plain({"tenants": [tenant_json(tenant) for tenant in tenants], "after": following})


async def _put(call: Call) -> Response:
    call.require_operator()
    body = await read_json(call.request, TenantBody, optional=True)
    tenant, created = await call.services.tenants.put(
        call.path("slug"), plan=body.plan, status=body.status, name=body.name
    )
    return plain(tenant_json(tenant), status=201 if created else 200)


async def _get(call: Call) -> Response:
    call.require_tenant(call.path("slug"))
    return plain(tenant_json(await call.services.tenants.get(call.path("slug"))))


async def _delete(call: Call) -> Response:
    call.require_operator()
    await call.services.tenants.delete(call.path("slug"))
    return Response(status_code=204)


async def _plans(call: Call) -> Response:
    config = call.services.config
    return plain({"plans": config.plans, "default": config.default_plan})
