"""Versions and deployments: what ``wrangler`` does to a Worker that exists."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.content import multipart_response
from gateway.api.endpoint import Call, endpoint, on_script
from gateway.api.faces import envelope
from gateway.api.paths import ACCOUNT, WORKER
from gateway.api.present import deployment_json, version_json
from gateway.api.secrets import SecretText, check_secret_type
from gateway.api.services import Services
from gateway.catalog.errors import BadDeployment
from gateway.catalog.metadata import LABEL, MAX_ANNOTATION, MESSAGE
from gateway.catalog.versions import MAX_SHARES

LATEST: Final = f"{ACCOUNT}/workers/workers/{{name}}/versions/latest"


class NewShare(msgspec.Struct):
    """How much of a script's requests a version gets."""

    version_id: str
    percentage: float


class NewDeployment(msgspec.Struct):
    """Body of a POST."""

    versions: list[NewShare]
    strategy: str = "percentage"
    annotations: dict[str, str] = {}


class NewSecrets(msgspec.Struct):
    """Body of a PATCH: secrets by name, None for one that is to go."""

    env: dict[str, SecretText | None]
    annotations: dict[str, str] = {}


def routes(services: Services) -> list[Route]:
    """The paths of this file; versions are added in the file of uploads."""
    return [
        *on_script(services, "/versions", "GET", _list),
        *on_script(services, "/versions/{version}", "GET", _get),
        *on_script(services, "/deployments", "GET", _list_deployments),
        *on_script(services, "/deployments", "POST", _deploy),
        *on_script(services, "/deployments/{deployment}", "GET", _get_deployment),
        endpoint(services, f"{WORKER}/content/v2", "GET", _content),
        endpoint(services, LATEST, "PATCH", _patch_latest),
    ]


async def _list(call: Call) -> Response:
    page, size = call.count("page", 1, most=10**6), call.count("per_page", 100)
    versions = await call.services.versions.kept(call.script_key, scope=call.account_scope)
    shown = versions[(page - 1) * size : page * size]
    config = call.services.config
    return envelope(
        {"items": [version_json(config, version) for version in shown]},
        info={
            "page": page,
            "per_page": size,
            "count": len(shown),
            "total_count": len(versions),
        },
    )


async def _get(call: Call) -> Response:
    version = await call.services.versions.get(
        call.script_key, call.path("version"), scope=call.account_scope
    )
    return envelope(version_json(call.services.config, version))


async def _content(call: Call) -> Response:
    key, scope = call.script_key, call.account_scope
    version_id = call.query("version")
    if version_id:
        return multipart_response(await call.services.versions.get(key, version_id, scope=scope))
    return multipart_response(await call.services.scripts.version(key, scope=scope))


async def _patch_latest(call: Call) -> Response:
    """Secrets of a version that is stored and does not serve yet."""
    body = await read_json(call.request, NewSecrets)
    for secret in body.env.values():
        if secret is not None:
            check_secret_type(secret.type)
    added = await call.services.versions.add_secrets(
        call.script_key,
        {name: secret.text if secret else None for name, secret in body.env.items()},
        message=body.annotations.get(MESSAGE, "")[:MAX_ANNOTATION],
        label=body.annotations.get(LABEL, "")[:MAX_ANNOTATION],
        scope=call.account_scope,
    )
    return envelope(version_json(call.services.config, added.version))


async def _list_deployments(call: Call) -> Response:
    found = await call.services.versions.deployments(call.script_key, scope=call.account_scope)
    email = call.services.email(call.path("account"))
    return envelope({"deployments": [deployment_json(item, email) for item in found]})


async def _get_deployment(call: Call) -> Response:
    found = await call.services.versions.deployment(
        call.script_key, call.path("deployment"), scope=call.account_scope
    )
    return envelope(deployment_json(found, call.services.email(call.path("account"))))


async def _deploy(call: Call) -> Response:
    """Make stored versions serve, each its percentage of the requests."""
    body = await read_json(call.request, NewDeployment)
    shares = {share.version_id: share.percentage for share in body.versions}
    if body.strategy != "percentage" or len(shares) != len(body.versions):
        raise BadDeployment(
            "a deployment names each version once, with strategy percentage",
            fix='send {"strategy": "percentage", "versions": [{"version_id", "percentage"}]}',
        )
    call.trail.detail["versions"] = dict(list(shares.items())[:MAX_SHARES])
    _, deployment = await call.services.versions.deploy(
        call.script_key,
        shares,
        body.annotations.get(MESSAGE, "")[:MAX_ANNOTATION],
        scope=call.account_scope,
    )
    return envelope(deployment_json(deployment, call.services.email(call.path("account"))))
