"""Connections that a trusted proxy passes on, behind a header of the PROXY protocol."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.edge.connection import HttpConnection
from gateway.edge.forwarded import TrustedProxies
from gateway.edge.proxy_header import Itself, read_header
from gateway.errors import BadRequest


class ProxiedConnection(HttpConnection):
    """A connection that must begin with such a header when it comes from a trusted proxy.

    From anybody else a header is not looked for: it would be the client's own invention. The wait
    for it is part of the wait for the first head.
    """

    def __init__(self, *args: Any, proxies: TrustedProxies, **more: Any) -> None:
        super().__init__(*args, **more)
        self._proxies = proxies
        self._header: bytes | None = None
        """What there is of the header; None once it is read, or not expected."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        if self.client is not None and self._proxies.trusts(self.client[0]):
            self._header = b""

    def data_received(self, data: bytes) -> None:
        """Read what came, after the header."""
        if self._header is None:
            super().data_received(data)
            return
        data = self._header + data
        try:
            origin = read_header(data)
        except BadRequest as refusal:
            self._header = None
            self._refuse(refusal)
            return
        if origin is None:
            self._header = data
            return
        self._header = None
        # What a proxy sends for somebody unknown may still be a client's: its claims count nothing.
        self.client = origin.client or (Itself(*self.client) if self.client else None)
        if origin.secure:
            self.scheme = "https"
        if len(data) > origin.size:
            super().data_received(data[origin.size :])
