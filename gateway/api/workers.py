"""What ``wrangler`` asks of an account's Workers beside the scripts themselves."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.content import content_response
from gateway.api.endpoint import Call, endpoint
from gateway.api.faces import envelope
from gateway.api.listing import list_scripts
from gateway.api.paths import ACCOUNT, WORKER, WORKERS
from gateway.api.present import script_json, timestamp, urls
from gateway.api.services import Services

SUBDOMAIN_STAYS = "every Worker answers below the platform's base domain; this stays enabled"


class SubdomainBody(msgspec.Struct):
    """Body of a POST."""

    enabled: bool = True
    previews_enabled: bool | None = None


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    workers = f"{ACCOUNT}/workers"
    return [
        endpoint(services, WORKERS, "GET", _list),
        endpoint(services, WORKER, "GET", _code),
        endpoint(services, f"{WORKER}/subdomain", "GET", _get_subdomain),
        endpoint(services, f"{WORKER}/subdomain", "POST", _post_subdomain),
        endpoint(services, f"{WORKER}/subdomain", "DELETE", _delete_subdomain),
        endpoint(services, f"{WORKER}/references", "GET", _references),
        endpoint(services, f"{workers}/services/{{name}}", "GET", _service),
        endpoint(services, f"{workers}/services/{{name}}", "DELETE", _delete),
        endpoint(services, f"{workers}/workers/{{name}}", "GET", _worker),
        endpoint(services, f"{workers}/subdomain", "GET", _account_subdomain, about_account=True),
        endpoint(services, f"{workers}/account-settings", "GET", _settings, about_account=True),
    ]


async def _list(call: Call) -> Response:
    config = call.services.config
    page = await list_scripts(call, config.default_namespace, call.account_scope)
    return envelope([script_json(config, script) for script in page.scripts], info=page.info)


async def _code(call: Call) -> Response:
    return content_response(
        await call.services.scripts.version(call.script_key, scope=call.account_scope)
    )


async def _service(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    created, modified = timestamp(script.created_ms), timestamp(script.modified_ms)
    environment: dict[str, Any] = {
        "environment": "production",
        "created_on": created,
        "modified_on": modified,
        "script": {
            "id": script.key.name,
            "tag": script.key.name,
            "tags": script.tags,
            "etag": script.etag,
            "handlers": script.handlers,
            "created_on": created,
            "modified_on": modified,
            # any other word makes wrangler warn of changes made elsewhere
            "last_deployed_from": "wrangler",
        },
    }
    return envelope(
        {
            "id": script.key.name,
            "created_on": created,
            "modified_on": modified,
            "default_environment": environment,
            "environments": [environment],
        }
    )


async def _worker(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    found = urls(call.services.config, script)
    return envelope(
        {
            "id": script.key.name,
            "name": script.key.name,
            "created_on": timestamp(script.created_ms),
            "updated_on": timestamp(script.modified_ms),
            "tags": script.tags,
            "subdomain": {
                "enabled": True,
                "previews_enabled": script.previews,
                **({"url": found[0]} if found else {}),
            },
        }
    )


async def _delete(call: Call) -> Response:
    await call.services.scripts.delete(call.script_key, scope=call.account_scope)
    return envelope(None)


async def _account_subdomain(call: Call) -> Response:
    return envelope({"subdomain": call.services.config.routing.base_domain})


async def _settings(call: Call) -> Response:
    """There is one usage model."""
    return envelope({"default_usage_model": "standard", "green_compute": False})


async def _get_subdomain(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    return envelope({"enabled": True, "previews_enabled": script.previews})


async def _post_subdomain(call: Call) -> Response:
    """Previews can be switched; the script's own hostname stays, which is said, not refused."""
    body = await read_json(call.request, SubdomainBody, optional=True)
    # As Cloudflare does: what is not said of previews follows the other.
    wanted = body.enabled if body.previews_enabled is None else body.previews_enabled
    script = await call.services.previews.put(call.script_key, wanted, scope=call.account_scope)
    notes = [] if body.enabled else [SUBDOMAIN_STAYS]
    return envelope({"enabled": True, "previews_enabled": script.previews}, notes=notes)


async def _delete_subdomain(call: Call) -> Response:
    """Switch previews off; the script's own hostname stays."""
    script = await call.services.previews.put(call.script_key, False, scope=call.account_scope)
    shown = {"enabled": True, "previews_enabled": script.previews}
    return envelope(shown, notes=[SUBDOMAIN_STAYS])


async def _references(call: Call) -> Response:
    await call.services.scripts.get(call.script_key, scope=call.account_scope)
    return envelope({"services": {"incoming": [], "outgoing": []}, "durable_objects": []})
