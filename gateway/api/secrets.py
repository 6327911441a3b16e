"""Secrets of a script: their names can be listed, their values never read back."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import envelope
from gateway.api.present import secret_names
from gateway.api.scripts import SCRIPT
from gateway.api.services import Services
from gateway.catalog.bindings import SECRET
from gateway.catalog.errors import BindingUnavailable, SecretMissing

SECRETS: Final = f"{SCRIPT}/secrets"


class NewSecret(msgspec.Struct):
    """Body of a PUT."""

    name: str
    text: str
    type: str = SECRET


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, SECRETS, "GET", _list),
        endpoint(services, SECRETS, "PUT", _put),
        endpoint(services, f"{SECRETS}/{{secret}}", "GET", _get),
        endpoint(services, f"{SECRETS}/{{secret}}", "DELETE", _delete),
    ]


async def _list(call: Call) -> Response:
    return envelope(await _secrets(call))


async def _get(call: Call) -> Response:
    for secret in await _secrets(call):
        if secret["name"] == call.path("secret"):
            return envelope(secret)
    raise SecretMissing(f"there is no secret {call.path('secret')[:80]!r}")


async def _put(call: Call) -> Response:
    body = await read_json(call.request, NewSecret)
    if body.type != SECRET:
        raise BindingUnavailable(
            f"secret type {body.type[:60]!r} is not available on this platform",
            fix=f"available type: {SECRET}",
        )
    await call.services.deploys.put_secret(
        call.script_key, body.name, body.text, scope=call.account_scope
    )
    return envelope({"name": body.name, "type": SECRET})


async def _delete(call: Call) -> Response:
    await call.services.deploys.delete_secret(
        call.script_key, call.path("secret"), scope=call.account_scope
    )
    return envelope(None)


async def _secrets(call: Call) -> list[dict[str, str]]:
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return secret_names(version)
