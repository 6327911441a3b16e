"""Settings and tags of a script, changed without uploading its code again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import MAX_JSON, read_capped, read_json
from gateway.api.endpoint import Call, endpoint, on_script
from gateway.api.errors import BadBody
from gateway.api.faces import envelope
from gateway.api.multipart import parse_upload
from gateway.api.paths import WORKER
from gateway.api.present import settings_json, unversioned_json
from gateway.api.services import Services
from gateway.catalog import parse_settings


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        *on_script(services, "/settings", "GET", _get),
        *on_script(services, "/settings", "PATCH", _patch),
        endpoint(services, f"{WORKER}/script-settings", "GET", _get_unversioned),
        endpoint(services, f"{WORKER}/script-settings", "PATCH", _patch_unversioned),
        *on_script(services, "/tags", "GET", _get_tags),
        *on_script(services, "/tags", "PUT", _put_tags),
        *on_script(services, "/tags/{tag:path}", "PUT", _put_tag),
        *on_script(services, "/tags/{tag:path}", "DELETE", _delete_tag),
    ]


async def _get(call: Call) -> Response:
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return envelope(settings_json(version))


async def _patch(call: Call) -> Response:
    settings = parse_settings(await _document(call))
    deployed = await call.services.deploys.edit_settings(
        call.script_key, settings, scope=call.account_scope
    )
    version = await call.services.scripts.version(call.script_key, scope=call.account_scope)
    return envelope(settings_json(version), notes=deployed.notes)


async def _get_unversioned(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    return envelope(unversioned_json(script))


async def _patch_unversioned(call: Call) -> Response:
    """Only what no version holds: a deployment's settings came with its upload."""
    settings = parse_settings(await _document(call))
    if settings.versioned:
        raise BadBody("only settings that no version holds can be changed here", fix="send tags")
    deployed = await call.services.deploys.edit_settings(
        call.script_key, settings, scope=call.account_scope
    )
    return envelope(unversioned_json(deployed.script), notes=deployed.notes)


async def _get_tags(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    return envelope(script.tags)


async def _put_tags(call: Call) -> Response:
    tags = await read_json(call.request, list[str])
    script = await call.services.deploys.change_tags(
        call.script_key, lambda _: tags, scope=call.account_scope
    )
    return envelope(script.tags)


async def _put_tag(call: Call) -> Response:
    script = await call.services.deploys.change_tags(
        call.script_key, lambda tags: [*tags, call.path("tag")], scope=call.account_scope
    )
    return envelope(script.tags)


async def _delete_tag(call: Call) -> Response:
    await call.services.deploys.change_tags(
        call.script_key,
        lambda tags: [tag for tag in tags if tag != call.path("tag")],
        scope=call.account_scope,
    )
    return envelope(None)


async def _document(call: Call) -> bytes | dict[str, Any]:
    """The settings: a part of that name, flattened fields, or a JSON body."""
    body = b"".join([chunk async for chunk in read_capped(call.request, MAX_JSON)])
    if not body.startswith(b"--"):
        return body

    async def once() -> AsyncIterator[bytes]:
        yield body

    content_type = call.request.headers.get("content-type", "")
    form = await parse_upload(content_type, once(), max_modules=1, flat_key="settings")
    if form.metadata is None:
        raise BadBody("the body has no settings", fix="add a part named settings, in JSON")
    return form.metadata
