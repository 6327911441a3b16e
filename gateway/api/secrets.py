"""Secrets of a script: their names can be listed, their values never read back."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.endpoint import Call, on_script
from gateway.api.faces import envelope
from gateway.api.present import secret_names
from gateway.api.services import Services
from gateway.catalog.bindings import SECRET
from gateway.catalog.errors import BindingUnavailable, SecretMissing


class NewSecret(msgspec.Struct):
    """Body of a PUT."""

    name: str
    text: str
    type: str = SECRET


class SecretText(msgspec.Struct):
    """A secret in a bulk request."""

    text: str
    type: str = SECRET


class ManySecrets(msgspec.Struct):
    """Body of a PATCH."""

    secrets: dict[str, SecretText | None]


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        *on_script(services, "/secrets", "GET", _list),
        *on_script(services, "/secrets", "PUT", _put),
        *on_script(services, "/secrets-bulk", "PATCH", _patch),
        *on_script(services, "/secrets/{secret}", "GET", _get),
        *on_script(services, "/secrets/{secret}", "DELETE", _delete),
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
    check_secret_type(body.type)
    call.trail.detail["secrets"] = [body.name[:255]]
    await call.services.deploys.put_secret(
        call.script_key, body.name, body.text, scope=call.account_scope
    )
    return envelope({"name": body.name, "type": SECRET})


async def _patch(call: Call) -> Response:
    """Set and remove many at once; a secret that is to go and is not there is no error."""
    body = await read_json(call.request, ManySecrets)
    for secret in body.secrets.values():
        if secret is not None:
            check_secret_type(secret.type)
    call.trail.detail["secrets"] = [name[:255] for name in list(body.secrets)[:128]]
    await call.services.deploys.put_secrets(
        call.script_key,
        {name: secret.text if secret else None for name, secret in body.secrets.items()},
        scope=call.account_scope,
        missing_ok=True,
    )
    return envelope(await _secrets(call))


def check_secret_type(kind: str) -> None:
    """Raise BindingUnavailable unless secrets of this type exist here."""
    if kind != SECRET:
        raise BindingUnavailable(
            f"secret type {kind[:60]!r} is not available on this platform",
            fix=f"available type: {SECRET}",
        )


async def _delete(call: Call) -> Response:
    call.trail.detail["secrets"] = [call.path("secret")[:255]]
    await call.services.deploys.delete_secret(
        call.script_key, call.path("secret"), scope=call.account_scope
    )
    return envelope(None)


async def _secrets(call: Call) -> list[dict[str, str]]:
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return secret_names(version)
