"""Scripts: what is known of them, their code, and their removal."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.content import content_response
from gateway.api.endpoint import Call, endpoint, on_script
from gateway.api.errors import BadParameter
from gateway.api.faces import envelope
from gateway.api.listing import list_scripts, tag_filter, tagged_scripts
from gateway.api.paths import SCRIPT, SCRIPTS
from gateway.api.present import binding_json, script_json, timestamp
from gateway.api.services import Services
from gateway.catalog.errors import ScriptMissing


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, SCRIPTS, "GET", _list),
        endpoint(services, SCRIPTS, "DELETE", _delete_tagged),
        endpoint(services, SCRIPT, "GET", _get),
        *on_script(services, "", "DELETE", _delete),
        *on_script(services, "/content", "GET", _content),
        *on_script(services, "/bindings", "GET", _bindings),
    ]


async def _list(call: Call) -> Response:
    await call.services.namespaces.get(call.path("namespace"))
    page = await list_scripts(call, call.path("namespace"), call.account_scope)
    config = call.services.config
    return envelope([script_json(config, script) for script in page.scripts], info=page.info)


async def _delete_tagged(call: Call) -> Response:
    """Remove the scripts that the tags name; without any tag none is meant."""
    if not any(present for _, present in tag_filter(call.query("tags"))):
        raise BadParameter(
            "which scripts to delete is not said", fix="name a tag: tags=customer-123:yes"
        )
    await call.services.namespaces.get(call.path("namespace"))
    scripts = tagged_scripts(call, call.path("namespace"), call.account_scope)
    for key in [script.key async for script in scripts]:
        try:
            await call.services.scripts.delete(key, scope=call.account_scope)
        except ScriptMissing:
            continue  # somebody else was faster
    return envelope(None)


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


async def _bindings(call: Call) -> Response:
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return envelope([binding_json(binding) for binding in version.bindings])
