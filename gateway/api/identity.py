"""``/user/tokens/verify`` and ``/accounts``: who a token is, in Cloudflare's words."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from gateway.accounts.tenants import PLATFORM
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import CLOUDFLARE_PREFIX, envelope
from gateway.api.paths import ACCOUNT
from gateway.api.present import timestamp
from gateway.api.services import Services


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, f"{CLOUDFLARE_PREFIX}/user/tokens/verify", "GET", _verify, anyone=True),
        endpoint(services, f"{CLOUDFLARE_PREFIX}/user", "GET", _user, anyone=True),
        endpoint(services, f"{CLOUDFLARE_PREFIX}/memberships", "GET", _memberships, anyone=True),
        endpoint(services, f"{CLOUDFLARE_PREFIX}/accounts", "GET", _accounts, anyone=True),
        endpoint(services, ACCOUNT, "GET", _account, anyone=True),
        endpoint(services, f"{ACCOUNT}/tokens/verify", "GET", _verify, anyone=True),
    ]


async def _verify(call: Call) -> Response:
    who = call.principal
    shown = {"id": who.token_id, "status": "active"}
    if who.expires_ms is not None:
        shown["expires_on"] = timestamp(who.expires_ms)
    return envelope(shown)


async def _user(call: Call) -> Response:
    mine = _mine(call)
    return envelope({"id": mine, "email": call.services.email(mine), "suspended": False})


async def _accounts(call: Call) -> Response:
    return _only(call, _account_json(_mine(call)))


async def _memberships(call: Call) -> Response:
    mine = _mine(call)
    return _only(call, {"id": mine, "status": "accepted", "account": _account_json(mine)})


async def _account(call: Call) -> Response:
    if call.path("account") != PLATFORM:
        await call.services.tenants.get(call.path("account"))
    return envelope(_account_json(call.path("account")))


def _only(call: Call, item: dict[str, Any]) -> Response:
    """A list of one, empty past the first page, because clients go on until it is."""
    page, size = call.count("page", 1, most=10**6), call.count("per_page", 50)
    items = [item] if page == 1 else []
    return envelope(
        items, info={"page": page, "per_page": size, "count": len(items), "total_count": 1}
    )


def _mine(call: Call) -> str:
    return call.principal.tenant or PLATFORM


def _account_json(account: str) -> dict[str, Any]:
    return {"id": account, "name": account, "type": "standard"}
