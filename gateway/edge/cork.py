"""One write for the head and the first body bytes of a response, where the server makes two.

A write to a socket costs as much as a third of a small request, and a client that gets its answer
in two packets wakes twice.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD = b"HTTP/1.1 "
_INTERIM = b"HTTP/1.1 1"


class CorkedTransport:
    """A transport that holds a response's head back until the body's first bytes, or the end of
    the event loop's turn, whichever is first."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, together with a head that was held back."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._held = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write a head that nothing followed."""
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def close(self) -> None:
        """Write what is held back, then close."""
        self.flush()
        self._transport.close()


class CorkedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 on a corked transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        corked: Any = CorkedTransport(transport, self.loop)
        super().connection_made(corked)
