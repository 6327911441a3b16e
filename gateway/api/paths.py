"""The two addresses of a script: in its dispatch namespace, and as a Worker of the account.

Only ``wrangler deploy`` can name a dispatch namespace; every other command speaks of
``workers/scripts/NAME``. There the default namespace answers, so that both are one script.
"""

from __future__ import annotations

from typing import Final

from starlette.routing import Route

from gateway.api.endpoint import Handler, endpoint
from gateway.api.faces import CLOUDFLARE_PREFIX
from gateway.api.services import Services

ACCOUNT: Final = f"{CLOUDFLARE_PREFIX}/accounts/{{account}}"
NAMESPACES: Final = f"{ACCOUNT}/workers/dispatch/namespaces"
SCRIPTS: Final = f"{NAMESPACES}/{{namespace}}/scripts"
SCRIPT: Final = f"{SCRIPTS}/{{name}}"
WORKERS: Final = f"{ACCOUNT}/workers/scripts"
WORKER: Final = f"{WORKERS}/{{name}}"


def on_script(services: Services, suffix: str, method: str, handler: Handler) -> list[Route]:
    """Routes of one resource of a script, at both of its addresses."""
    return [endpoint(services, f"{base}{suffix}", method, handler) for base in (SCRIPT, WORKER)]
