"""The keys that tenants' secrets are sealed with: which there are, and their rotation."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import plain
from gateway.api.services import Services


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, "/v1/keys", "GET", _list),
        endpoint(services, "/v1/keys/rotate", "POST", _rotate),
    ]


async def _list(call: Call) -> Response:
    call.require_operator()
    return plain({"keys": await call.services.secret_keys.list_keys()})


async def _rotate(call: Call) -> Response:
    call.require_operator()
    sealed = await call.services.secret_keys.rotate_keys()
    return plain({"sealed": sealed, "keys": await call.services.secret_keys.list_keys()})
