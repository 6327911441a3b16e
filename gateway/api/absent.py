"""Products of Cloudflare's that this platform does not have: said in so many words.

Where clients only look whether there is something, an empty list answers.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.api.endpoint import Call, Handler, endpoint
from gateway.api.errors import NotAvailable
from gateway.api.faces import envelope
from gateway.api.paths import ACCOUNT, SCRIPT, WORKER
from gateway.api.services import Services

EMPTY: Final = (
    "storage/kv/namespaces",
    "workers/durable_objects/namespaces",
    "workers/tails/by-consumer/{name}",
)
"""Where an empty list answers, below an account."""
ABSENT: Final = (
    *(
        (
            f"{base}/assets-upload-session",
            "POST",
            "static assets",
            "put small files into the bundle and serve them from the code",
        )
        for base in (SCRIPT, WORKER)
    ),
    *(
        (f"{ACCOUNT}/{path}", "POST", what, "remove the binding")
        for path, what in (
            ("storage/kv/namespaces", "KV namespaces"),
            ("d1/database", "D1 databases"),
            ("r2/buckets", "R2 buckets"),
            ("queues", "queues"),
        )
    ),
)
"""Path, method, what is absent, what to do instead."""


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        *(
            endpoint(services, f"{ACCOUNT}/{path}", "GET", _nothing, about_account=True)
            for path in EMPTY
        ),
        *(
            endpoint(services, path, method, _absent(what, fix))
            for path, method, what, fix in ABSENT
        ),
    ]


async def _nothing(call: Call) -> Response:
    return envelope([], info={"page": 1, "per_page": 100, "count": 0, "total_count": 0})


def _absent(what: str, fix: str) -> Handler:
    async def refuse(call: Call) -> Response:
        raise NotAvailable(f"{what} are not available on this platform", fix=fix)

    return refuse
