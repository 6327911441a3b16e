"""The control API as one ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.api import (
    absent,
    audit,
    certificates,
    domains,
    health,
    hostnames,
    identity,
    inventory,
    keys,
    namespaces,
    openapi,
    schedules,
    script_settings,
    script_versions,
    scripts,
    secrets,
    tail_sockets,
    tails,
    tenants,
    tokens,
    uploads,
    workers,
)
from gateway.api.errors import BadBody, NoRoute, WrongMethod
from gateway.api.faces import failure
from gateway.api.services import Services
from gateway.errors import ControlError


def create_api(services: Services) -> Starlette:
    """Put the use-cases on HTTP."""
    resources = (
        health, identity, namespaces, scripts, uploads, script_settings, script_versions,
        secrets, schedules, workers, absent, tenants, hostnames, domains, inventory, keys, tokens,
        audit, tails, tail_sockets, certificates,
    )  # fmt: skip
    routes = [route for resource in resources for route in resource.routes(services)]
    return Starlette(
        routes=[*routes, *openapi.routes(routes)],
        exception_handlers={HTTPException: _http_failure},
    )


async def _http_failure(request: Request, error: Exception) -> Response:
    """What the framework itself refuses, in the shape of the path."""
    path = request.url.path
    status = error.status_code if isinstance(error, HTTPException) else 500
    shown = path[:200]
    refusal: ControlError
    if status == 404:
        refusal = NoRoute(f"Could not route to {shown}", fix="check the path")
    elif status == 405:
        refusal = WrongMethod(f"{request.method} is not possible on {shown}")
    else:
        refusal = BadBody(f"the request cannot be read ({status})")
    return failure(path, refusal)
