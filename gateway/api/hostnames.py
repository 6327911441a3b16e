"""Routes: which hostname leads to which script."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json, read_lines
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import plain
from gateway.api.present import route_json
from gateway.api.services import Services
from gateway.catalog.bulk import MAX_LINE

ROUTES: Final = "/v1/routes"
ROUTE: Final = f"{ROUTES}/{{hostname}}"
MAX_BULK: Final = 512 << 20
"""Longest bulk body, bytes."""


class RouteBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a PUT."""

    script: str
    namespace: str | None = None


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, ROUTES, "GET", _list),
        endpoint(services, f"{ROUTES}/bulk", "POST", _bulk),
        endpoint(services, ROUTE, "PUT", _put),
        endpoint(services, ROUTE, "GET", _get),
        endpoint(services, f"{ROUTE}/verify", "POST", _verify),
        endpoint(services, ROUTE, "DELETE", _delete),
    ]


async def _list(call: Call) -> Response:
    limit = call.count("limit", 100)
    if call.query("status") == "pending":
        waiting = await call.services.hostnames.waiting(
            scope=call.scope, after=call.query("after"), limit=limit
        )
        return plain({"routes": [route_json(routed) for routed in waiting], "after": ""})
    found = await call.services.hostnames.list(
        scope=call.scope,
        prefix=call.query("prefix").lower(),
        after=call.query("after"),
        limit=limit,
    )
    following = found[-1].hostname if len(found) == limit else ""
    return plain({"routes": [route_json(routed) for routed in found], "after": following})


async def _put(call: Call) -> Response:
    body = await read_json(call.request, RouteBody)
    routed = await call.services.hostnames.put(
        call.path("hostname"), body.script, body.namespace, scope=call.scope
    )
    return plain(route_json(routed), status=202 if routed.claim else 200)


async def _verify(call: Call) -> Response:
    """Look now whether the tenant has published what shows that the hostname is its own."""
    routed = await call.services.hostnames.verify(call.path("hostname"), scope=call.scope)
    return plain(route_json(routed), status=202 if routed.claim else 200)


async def _get(call: Call) -> Response:
    return plain(
        route_json(await call.services.hostnames.get(call.path("hostname"), scope=call.scope))
    )


async def _delete(call: Call) -> Response:
    await call.services.hostnames.delete(call.path("hostname"), scope=call.scope)
    return Response(status_code=204)


async def _bulk(call: Call) -> Response:
    call.require_operator()
    with call.services.bulk_routes() as bulk:
        async for line in read_lines(call.request, MAX_BULK, MAX_LINE):
            await bulk.add(line)
        call.trail.detail["routes"] = bulk.count
        stored = await bulk.commit()
    return plain({"routes": stored.routes, "tenants_created": stored.tenants_created})
