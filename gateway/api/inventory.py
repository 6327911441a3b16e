"""``/v1/scripts``: what is deployed, with where it answers."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import plain
from gateway.api.listing import list_scripts
from gateway.api.present import timestamp, urls
from gateway.api.services import Services
from gateway.config import Config
from gateway.model.script import Script


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [endpoint(services, "/v1/scripts", "GET", _list)]


async def _list(call: Call) -> Response:
    config = call.services.config
    namespace = call.query("namespace") or config.default_namespace
    await call.services.namespaces.get(namespace)
    page = await list_scripts(call, namespace, call.scope)
    return plain(
        {
            "scripts": [_script(config, script) for script in page.scripts],
            "cursor": page.info["cursor"],
        }
    )


def _script(config: Config, script: Script) -> dict[str, object]:
    return {
        "name": script.key.name,
        "namespace": script.key.namespace,
        "tenant": script.tenant,
        "version": script.version_id,
        "tags": script.tags,
        "handlers": script.handlers,
        "limits": script.limits,
        "created_on": timestamp(script.created_ms),
        "modified_on": timestamp(script.modified_ms),
        "urls": urls(config, script),
    }
