"""Metrics and health, open to whoever reaches the control listener: it is bound to loopback."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.faces import plain
from gateway.api.services import Services


def routes(services: Services) -> list[Route]:
    """The paths of this file."""

    one_at_a_time = asyncio.Lock()

    async def metrics(request: Request) -> Response:
        async with one_at_a_time:
            text = await services.render_metrics()
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    async def healthz(request: Request) -> Response:
        return plain({"status": "ok"})

    async def readyz(request: Request) -> Response:
        ready, details = services.readiness()
        return plain({"ready": ready, **details}, status=200 if ready else 503)

    return [
        Route("/metrics", metrics, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
    ]
