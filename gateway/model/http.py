"""Requests as the corridor sees them, and where replies go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from gateway.model.schedule import Scheduled
from gateway.model.websocket import Pace, Socket

HeaderList = list[tuple[bytes, bytes]]
MAX_HOPS: Final = 16
"""Workers that one request may go through, each asked by the one before."""


class Arrival(Protocol):
    """The body of a request on its way."""

    @property
    def arrived(self) -> bool:
        """Whether there is nothing of it to wait for, or enough of it has come."""

    async def arrive(self, most: int) -> None:
        """Return once that is so, or more than ``most`` bytes are announced. Raises Refusal, or
        ClientDisconnected."""


class Request(msgspec.Struct, gc=False):
    """An HTTP request as it came in, cleaned by the edge. Bodies stay streams."""

    ray: str
    """Request id, answered as ``waypost-ray``."""
    method: str
    scheme: str
    host: str
    """Host without port, lower case, A-labels, no trailing dot."""
    authority: str
    """Host and port as the client named them."""
    path: bytes
    """Raw, still percent-encoded."""
    query: bytes
    headers: HeaderList
    """What the tenant may see: hop-by-hop and platform headers removed, forwarded ones set."""
    client: tuple[str, int] | None
    accept: str
    """The Accept header, for error pages."""
    tenant_header: str | None = None
    """Value of the tenant header when a trusted proxy sent one."""
    websocket: bool = False
    """It asks to become a WebSocket."""
    content_length: int | None = None
    """Bytes announced; None when there is no body or it is chunked."""
    hops: int = 0
    """Workers that it went through before: it is a subrequest of the last of them."""
    receive: Callable[[], Awaitable[tuple[bytes, bool]]] | None = None
    """Reads the next body chunk: (bytes, more to come). None when the request has no body.
    Raises ClientDisconnected when the client is gone."""
    arrival: Arrival | None = None
    """Whether the body has come; None where there is none, or nobody can tell."""
    scheduled: Scheduled | None = None
    """No client asks, a schedule does: what the client would have said is empty."""
    announced: int = 0
    """Bytes of the chunk of the body that is coming, as far as the body's reader was told."""

    @property
    def url(self) -> str:
        """Absolute URL as the client asked for it."""
        query = f"?{self.query.decode('latin-1')}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path.decode('latin-1')}{query}"


class Reply(Protocol):
    """Where a reply is written. ``start`` once, then ``write`` until ``more`` is False."""

    started: bool
    unlisted: bool
    """Search engines are asked to keep it out of their indexes."""
    pace: Pace
    """How fast frames are read if it becomes a WebSocket."""

    @property
    def crowded(self) -> bool:
        """What was sent waits for the client to read: ``write`` would wait."""

    async def start(self, status: int, headers: HeaderList) -> list[str]:
        """Send the head. Returns what was left out of it, in words for the tenant's log."""

    async def write(self, chunk: bytes, *, more: bool) -> None:
        """Send body bytes; returns when the client's connection can take more."""

    def write_now(self, pieces: list[memoryview], size: int) -> bool:
        """Send so many body bytes with more to come, which are gone when this returns. False where
        that takes waiting or deciding: none were sent, and ``write`` is to be asked."""

    async def upgrade(self, headers: HeaderList, max_message: int) -> Socket:
        """Become a WebSocket, with the tenant's headers. Raises BadResponse if they do not fit."""

    async def page(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send a page of the platform's own, instead of the tenant's answer."""

    def abort(self) -> None:
        """Cut the connection, so that a truncated answer cannot look complete."""

    async def closed(self) -> None:
        """Return when the client has gone away."""
