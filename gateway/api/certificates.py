"""What a TLS front asks before it gets a certificate (Caddy's ``on_demand_tls { ask … }``)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.errors import NoRoute, TooManyRequests
from gateway.api.faces import failure, plain
from gateway.api.services import Services

PATH = "/v1/tls/ask"


def routes(services: Services) -> list[Route]:
    """The paths of this file. Fronts send no token: what they learn, any visitor may see."""

    async def ask(request: Request) -> Response:
        domain = request.query_params.get("domain", "")
        allowed = await services.may_have_certificate(domain)
        if allowed:
            return plain({"domain": domain})
        if allowed is None:
            return failure(PATH, TooManyRequests("too many unknown names are asked for", 1))
        return failure(
            PATH,
            NoRoute(f"no worker answers to {domain[:255]!r}", fix="add it with waypost routes add"),
        )

    return [Route(PATH, ask, methods=["GET"])]
