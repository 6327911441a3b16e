"""Scripts of a dispatch namespace: upload, read, remove."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_capped
from gateway.api.content import content_response
from gateway.api.endpoint import Call, endpoint
from gateway.api.errors import BadBody
from gateway.api.faces import envelope
from gateway.api.listing import list_scripts
from gateway.api.multipart import parse_upload
from gateway.api.namespaces import NAMESPACES
from gateway.api.present import binding_json, script_json, settings_json, timestamp, update_json
from gateway.api.services import Services
from gateway.catalog import Upload, parse_metadata

SCRIPTS: Final = f"{NAMESPACES}/{{namespace}}/scripts"
SCRIPT: Final = f"{SCRIPTS}/{{name}}"
UPLOAD_SLACK: Final = 2 << 20
"""What an upload may have on top of its modules: metadata and part headers, bytes."""
UPLOADS_AT_ONCE: Final = 8
"""Bodies of uploads held in memory at the same time."""


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    gate = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def put(call: Call) -> Response:
        async with gate:
            return await _put(call)

    return [
        endpoint(services, SCRIPTS, "GET", _list),
        endpoint(services, SCRIPT, "PUT", put),
        endpoint(services, SCRIPT, "GET", _get),
        endpoint(services, SCRIPT, "DELETE", _delete),
        endpoint(services, f"{SCRIPT}/content", "GET", _content),
        endpoint(services, f"{SCRIPT}/settings", "GET", _settings),
        endpoint(services, f"{SCRIPT}/bindings", "GET", _bindings),
    ]


async def _list(call: Call) -> Response:
    await call.services.namespaces.get(call.path("namespace"))
    page = await list_scripts(call, call.path("namespace"), call.account_scope)
    config = call.services.config
    return envelope([script_json(config, script) for script in page.scripts], info=page.info)


async def _put(call: Call) -> Response:
    limits = call.services.config.upload
    form = await parse_upload(
        call.request.headers.get("content-type", ""),
        read_capped(call.request, (limits.max_mb << 20) + UPLOAD_SLACK),
        max_modules=limits.max_modules,
    )
    if form.metadata is None:
        raise BadBody("the upload has no metadata", fix="add a part named metadata, in JSON")
    upload = Upload(
        metadata=parse_metadata(form.metadata),
        modules=tuple(form.modules),
        strict_inherit=call.query("bindings_inherit") == "strict",
    )
    deployed = await call.services.deploys.upload(call.script_key, upload, scope=call.account_scope)
    return envelope(
        update_json(call.services.config, deployed.script, deployed.version),
        notes=deployed.notes,
    )


async def _get(call: Call) -> Response:
    await call.services.namespaces.get(call.path("namespace"))
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    result: dict[str, Any] = {
        "dispatch_namespace": script.key.namespace,
        "created_on": timestamp(script.created_ms),
        "modified_on": timestamp(script.modified_ms),
        "script": script_json(call.services.config, script),
    }
    return envelope(result)


async def _delete(call: Call) -> Response:
    await call.services.scripts.delete(call.script_key, scope=call.account_scope)
    return envelope(None)


async def _content(call: Call) -> Response:
    return content_response(
        await call.services.scripts.version(call.script_key, scope=call.account_scope)
    )


async def _settings(call: Call) -> Response:
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return envelope(settings_json(version))


async def _bindings(call: Call) -> Response:
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return envelope([binding_json(binding) for binding in version.bindings])
