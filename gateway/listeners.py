"""A node's two listeners: how each is served, drains, and is left to a node that follows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import uvicorn

from gateway.config import Config
from gateway.edge.asgi import Edge
from gateway.edge.connection import HttpConnection
from gateway.edge.forwarded import TrustedProxies
from gateway.edge.proxied import ProxiedConnection
from gateway.edge.server import Server, within_descriptors
from gateway.processes.cells import Cells

TENANTS_DRAIN_SECONDS: Final = 30
CONTROL_DRAIN_SECONDS: Final = 2
RETIRE_SECONDS: Final = 5.0
"""How long idle connections may be used once more when another node follows this one."""


class Listeners:
    """Those of one process; each drains on the way out of the stack that it was given."""

    def __init__(self) -> None:
        self._servers: list[Server] = []

    async def open_tenants(
        self,
        stack: contextlib.AsyncExitStack,
        config: Config,
        edge: Edge,
        sock: socket.socket,
        cells: Cells | None,
    ) -> None:
        """Serve tenants' traffic. ``cells``: where processes that share the socket count."""
        bounds = within_descriptors(config.http)
        if cells is not None:
            most = -(-bounds.connections // cells.processes)
            bounds = msgspec.structs.replace(bounds, connections=most)
        kind: Callable[..., HttpConnection] = HttpConnection
        if bounds.proxy_protocol:
            proxies = TrustedProxies(config.routing.trusted_proxies)
            kind = partial(ProxiedConnection, proxies=proxies)
        ping_seconds = config.websocket.ping_seconds
        made = partial(kind, bounds=bounds, ping_seconds=ping_seconds, express=edge)
        server = Server(_settings(edge, made, TENANTS_DRAIN_SECONDS), cells)
        await self._open(stack, server, sock)

    async def open_control(
        self, stack: contextlib.AsyncExitStack, config: Config, api: object, sock: socket.socket
    ) -> None:
        """Serve the control API."""
        bounds, ping_seconds = within_descriptors(config.http), config.websocket.ping_seconds
        made = partial(HttpConnection, bounds=bounds, ping_seconds=ping_seconds, express=None)
        await self._open(stack, Server(_settings(api, made, CONTROL_DRAIN_SECONDS)), sock)

    async def _open(
        self, stack: contextlib.AsyncExitStack, server: Server, sock: socket.socket
    ) -> None:
        self._servers.append(server)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await server.up.wait()

        async def stop() -> None:
            server.should_exit = True
            await task

        stack.push_async_callback(stop)

    async def retire(self) -> None:
        """Leave the sockets to the node that follows, and let clients go over to it in peace."""
        await asyncio.gather(*(server.retire(RETIRE_SECONDS) for server in self._servers))


def _settings(
    app: object, made: Callable[..., HttpConnection], drain_seconds: int
) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=made,  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=drain_seconds,
    )
