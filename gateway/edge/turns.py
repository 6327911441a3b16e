"""The control API's requests take turns with those of tenants: no flood of them slows tenants down.

Each address has its own turns, and those of a front that asks whether it may order a certificate,
which anybody's TLS handshakes make it do, are apart from those of people and of health checks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.edge.cycle import send_plain
from gateway.errors import Refusal

COST: Final = 8
"""What a request to the control API counts, in plain requests of tenants."""
_APART: Final = {"/v1/tls/ask": "ask", "/healthz": "health", "/readyz": "health"}


def with_turns(app: Any, enter_as: Callable[[str, int], Awaitable[object]]) -> Any:
    """An ASGI application whose requests wait for their turn; ``enter_as`` takes whose it is, and
    what it counts, and raises Refusal."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        # No tenant has such a name.
        name = f"control {client[0] if client else ''} {_APART.get(scope.get('path', ''), '')}"
        try:
            await enter_as(name, COST)
        except Refusal as refusal:
            await send_plain(refusal, send)
            return
        await app(scope, receive, send)

    return serve
