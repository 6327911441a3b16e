"""``~/workers/scripts/NAME``: the same scripts without their namespace, as ``wrangler`` asks.

Even when it deploys into a dispatch namespace, wrangler reads the secrets and settings of the
script of that name here, to decide which bindings to inherit. The default namespace answers.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.endpoint import Call, endpoint
from gateway.api.errors import NoWorker
from gateway.api.faces import CLOUDFLARE_PREFIX, envelope
from gateway.api.present import secret_names, settings_json
from gateway.api.services import Services
from gateway.catalog.errors import ScriptMissing
from gateway.model.script import ScriptKey, Version

WORKER: Final = f"{CLOUDFLARE_PREFIX}/accounts/{{account}}/workers/scripts/{{name}}"


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, f"{WORKER}/secrets", "GET", _secrets),
        endpoint(services, f"{WORKER}/settings", "GET", _settings),
    ]


async def _secrets(call: Call) -> Response:
    return envelope(secret_names(await _version(call)))


async def _settings(call: Call) -> Response:
    return envelope(settings_json(await _version(call)))


async def _version(call: Call) -> Version:
    """The serving version. Raises NoWorker, whose code wrangler takes for a first deploy."""
    key = ScriptKey(call.services.config.default_namespace, call.path("name"))
    try:
        return await call.services.scripts.version(key, scope=call.account_scope)
    except ScriptMissing as error:
        raise NoWorker(error.message, fix=error.fix) from None
