"""A node's two listeners: how each is served, drains, and is left to a node that follows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import uvicorn

from gateway.config import Config
from gateway.edge.asgi import Edge
from gateway.edge.connection import HttpConnection
from gateway.edge.forwarded import TrustedProxies
from gateway.edge.moving import MovableConnection, ProxiedMovableConnection
from gateway.edge.proxied import ProxiedConnection
from gateway.edge.server import Server, within_descriptors
from gateway.processes.cells import Cells
from gateway.processes.homes import LOOK_SECONDS

TENANTS_DRAIN_SECONDS: Final = 30
CONTROL_DRAIN_SECONDS: Final = 2
RETIRE_SECONDS: Final = 5.0
"""How long idle connections may be used once more when another node follows this one."""


class Box(Protocol):
    """Where other processes of the node post what is to be served here (gateway.spread)."""

    def open(self, server: Server) -> None:
        """Take it; connections go on at ``server``."""

    async def retire(self) -> None:
        """Have others post nothing more."""

    def close(self) -> None:
        """Take nothing more."""


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
        box: Box | None,
    ) -> None:
        """Serve tenants' traffic. ``cells``: where processes that share the socket count;
        ``box``: what they hand to one another."""
        bounds = within_descriptors(config.http)
        if cells is not None:
            # What others post from here on waits for the server, which waits until they have let
            # go of the instances that are to be here.
            cells.take(willing=True)
            await asyncio.sleep(2 * LOOK_SECONDS)
        ping_seconds = config.websocket.ping_seconds
        made = partial(_kind(config, cells), bounds=bounds, ping_seconds=ping_seconds, express=edge)
        server = Server(_settings(edge, made, TENANTS_DRAIN_SECONDS), cells)
        await self._open(stack, server, sock, box)

    async def open_control(
        self, stack: contextlib.AsyncExitStack, config: Config, api: object, sock: socket.socket
    ) -> None:
        """Serve the control API."""
        bounds, ping_seconds = within_descriptors(config.http), config.websocket.ping_seconds
        made = partial(HttpConnection, bounds=bounds, ping_seconds=ping_seconds, express=None)
        await self._open(stack, Server(_settings(api, made, CONTROL_DRAIN_SECONDS)), sock)

    async def _open(
        self,
        stack: contextlib.AsyncExitStack,
        server: Server,
        sock: socket.socket,
        box: Box | None = None,
    ) -> None:
        self._servers.append(server)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await server.up.wait()
        if box is not None:
            box.open(server)

        async def stop() -> None:
            if box is not None:
                await box.retire()
            server.should_exit = True
            await task
            if box is not None:
                box.close()

        stack.push_async_callback(stop)

    async def retire(self) -> None:
        """Leave the sockets to the node that follows, and let clients go over to it in peace."""
        await asyncio.gather(*(server.retire(RETIRE_SECONDS) for server in self._servers))


def _kind(config: Config, cells: Cells | None) -> Callable[..., HttpConnection]:
    """What makes the connections of the tenants' listener."""
    if not config.http.proxy_protocol:
        return HttpConnection if cells is None else partial(MovableConnection, cells=cells)
    proxies = TrustedProxies(config.routing.trusted_proxies)
    if cells is None:
        return partial(ProxiedConnection, proxies=proxies)
    return partial(ProxiedMovableConnection, proxies=proxies, cells=cells)


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
