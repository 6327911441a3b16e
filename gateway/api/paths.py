"""The two addresses of a script: in its dispatch namespace, and as a Worker of the account.

Only ``wrangler deploy`` can name a dispatch namespace; every other command speaks of
``workers/scripts/NAME``. There the default namespace answers, so that both are one script.
"""

from __future__ import annotations

from typing import Final

from gateway.api.faces import CLOUDFLARE_PREFIX

ACCOUNT: Final = f"{CLOUDFLARE_PREFIX}/accounts/{{account}}"
NAMESPACES: Final = f"{ACCOUNT}/workers/dispatch/namespaces"
SCRIPTS: Final = f"{NAMESPACES}/{{namespace}}/scripts"
SCRIPT: Final = f"{SCRIPTS}/{{name}}"
WORKERS: Final = f"{ACCOUNT}/workers/scripts"
WORKER: Final = f"{WORKERS}/{{name}}"
