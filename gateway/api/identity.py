"""``/user/tokens/verify`` and ``/accounts``: who a token is, in Cloudflare's words."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from gateway.accounts.tenants import PLATFORM
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import CLOUDFLARE_PREFIX, envelope
from gateway.api.services import Services


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, f"{CLOUDFLARE_PREFIX}/user/tokens/verify", "GET", _verify),
        endpoint(services, f"{CLOUDFLARE_PREFIX}/accounts", "GET", _accounts),
    ]


async def _verify(call: Call) -> Response:
    return envelope({"id": call.principal.token_id, "status": "active"})


async def _accounts(call: Call) -> Response:
    page, size = call.count("page", 1, most=10**6), call.count("per_page", 50)
    mine = call.principal.tenant or PLATFORM
    accounts = [{"id": mine, "name": mine, "type": "standard"}] if page == 1 else []
    return envelope(
        accounts,
        info={"page": page, "per_page": size, "count": len(accounts), "total_count": 1},
    )
