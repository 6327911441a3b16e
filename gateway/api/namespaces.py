"""Dispatch namespaces."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import envelope
from gateway.api.paths import NAMESPACES
from gateway.api.present import namespace_json
from gateway.api.services import Services


class NewNamespace(msgspec.Struct):
    """Body of a POST or PUT."""

    name: str


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    one = f"{NAMESPACES}/{{namespace}}"
    return [
        endpoint(services, NAMESPACES, "GET", _list),
        endpoint(services, NAMESPACES, "POST", _create),
        endpoint(services, one, "GET", _get, about_account=True),
        endpoint(services, one, "PUT", _rename),
        endpoint(services, one, "DELETE", _delete),
    ]


async def _list(call: Call) -> Response:
    page, size = call.count("page", 1, most=10**6), call.count("per_page", 100)
    namespaces = await call.services.namespaces.list()
    shown = namespaces[(page - 1) * size : page * size]
    return envelope(
        [namespace_json(item, await _scripts(call, item.name)) for item in shown],
        info={
            "page": page,
            "per_page": size,
            "count": len(shown),
            "total_count": len(namespaces),
        },
    )


async def _create(call: Call) -> Response:
    call.require_operator()
    body = await read_json(call.request, NewNamespace)
    return envelope(namespace_json(await call.services.namespaces.create(body.name), 0))


async def _get(call: Call) -> Response:
    namespace = await call.services.namespaces.get(call.path("namespace"))
    return envelope(namespace_json(namespace, await _scripts(call, namespace.name)))


async def _rename(call: Call) -> Response:
    call.require_operator()
    body = await read_json(call.request, NewNamespace)
    renamed = await call.services.namespaces.rename(call.path("namespace"), body.name)
    return envelope(namespace_json(renamed, 0))


async def _delete(call: Call) -> Response:
    call.require_operator()
    await call.services.namespaces.delete(call.path("namespace"))
    return envelope(None)


async def _scripts(call: Call, namespace: str) -> int:
    """Scripts in a namespace; how many others have is not a tenant's business."""
    if not call.principal.is_operator:
        return 0
    return await call.services.namespaces.count(namespace)
