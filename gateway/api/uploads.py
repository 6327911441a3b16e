"""Uploads of code: a new script or version that serves, one that waits, or code alone."""

from __future__ import annotations

import asyncio
import functools
from typing import Final
from weakref import WeakValueDictionary

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_capped
from gateway.api.endpoint import Call, Handler, on_script
from gateway.api.errors import BadBody, UploadTooSlow
from gateway.api.faces import envelope
from gateway.api.multipart import Form, parse_upload
from gateway.api.present import update_json, version_json
from gateway.api.services import Services
from gateway.catalog import Upload, parse_metadata

UPLOAD_SLACK: Final = 2 << 20
"""What an upload may have on top of its modules: metadata, bytes."""
PART_SLACK: Final = 512
"""What each module may have on top: the headers of its part, bytes."""
UPLOADS_AT_ONCE: Final = 8
"""Bodies of uploads held in memory at the same time."""
UPLOADS_OF_TENANT: Final = 3
"""How many of them one tenant's tokens may hold."""
BODY_SECONDS: Final = 120.0
"""How long a body may take to arrive, however steadily it drips: it holds a place."""


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    gate = asyncio.Semaphore(UPLOADS_AT_ONCE)
    own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def gated(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def run(call: Call) -> Response:
            tenant = call.principal.tenant
            if tenant is None:
                async with gate:
                    return await handler(call)
            mine = own.setdefault(tenant, asyncio.Semaphore(UPLOADS_OF_TENANT))
            async with mine, gate:
                return await handler(call)

        return run

    return [
        *on_script(services, "", "PUT", gated(_put)),
        *on_script(services, "/content", "PUT", gated(_put_content)),
        *on_script(services, "/versions", "POST", gated(_add_version)),
    ]


async def _put(call: Call) -> Response:
    deployed = await call.services.deploys.upload(
        call.script_key, await _upload(call), scope=call.account_scope
    )
    return envelope(
        update_json(call.services.config, deployed.script, deployed.version),
        notes=deployed.notes,
    )


async def _add_version(call: Call) -> Response:
    added = await call.services.versions.add(
        call.script_key, await _upload(call), scope=call.account_scope
    )
    return envelope(version_json(call.services.config, added.version), notes=added.notes)


async def _put_content(call: Call) -> Response:
    form = await _form(call)
    main = parse_metadata(form.metadata).named if form.metadata is not None else None
    main = main or call.request.headers.get("cf-worker-main-module-part")
    deployed = await call.services.deploys.put_content(
        call.script_key, tuple(form.modules), main, scope=call.account_scope
    )
    return envelope(update_json(call.services.config, deployed.script, deployed.version))


async def _upload(call: Call) -> Upload:
    form = await _form(call)
    if form.metadata is None:
        raise BadBody("the upload has no metadata", fix="add a part named metadata, in JSON")
    return Upload(
        metadata=parse_metadata(form.metadata),
        modules=tuple(form.modules),
        strict_inherit=call.query("bindings_inherit") == "strict",
    )


async def _form(call: Call) -> Form:
    limits = call.services.config.upload
    slack = UPLOAD_SLACK + limits.max_modules * PART_SLACK
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await parse_upload(
                call.request.headers.get("content-type", ""),
                read_capped(call.request, (limits.max_mb << 20) + slack),
                max_modules=limits.max_modules,
            )
    except TimeoutError:
        raise UploadTooSlow(
            f"the upload did not arrive within {BODY_SECONDS:.0f} s", fix="send it faster"
        ) from None
