"""What comes back from where a tenant asked, before the parser of HTTP has it.

The parser takes a line or an interim response at a time and goes on while it has any, and so long
all other requests of the node wait. Whom a tenant asks decides how many there are: so they are
counted first.
"""

from __future__ import annotations

import re
from typing import Any, Final

import httpcore

MAX_LINES: Final = 300
"""Of one head."""
MAX_INTERIM: Final = 16
"""Interim responses (1xx) before the answer itself."""
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_BLANK_BYTES: Final = 3
_STATUS_AT: Final = len(b"HTTP/1.1 ")


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection on which each answer begins with a head that is quickly read."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._head: bytearray | None = None
        """What has come of a head; None while none is expected."""
        self._lines = self._interim = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's signature
        """Raises httpcore.RemoteProtocolError when a head is none that a server would send."""
        data = await self._inner.read(max_bytes, timeout)
        if self._head is not None:
            self._look(self._head, data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's signature
        """A request is on its way: an answer follows."""
        self._head = bytearray()
        self._lines = self._interim = 0
        await self._inner.write(buffer, timeout)

    def _look(self, head: bytearray, data: bytes) -> None:
        begin = max(0, len(head) - _BLANK_BYTES)
        head += data
        self._lines += data.count(b"\n")
        while (blank := _BLANK_LINE.search(head, begin)) is not None:
            if head.count(b"\n", 0, blank.end()) > MAX_LINES:
                raise httpcore.RemoteProtocolError("too many header fields")
            if head[_STATUS_AT : _STATUS_AT + 1] != b"1":
                self._head = None
                return
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise httpcore.RemoteProtocolError("too many interim responses")
            del head[: blank.end()]
            self._lines = head.count(b"\n")
            begin = 0
        if self._lines > MAX_LINES:
            raise httpcore.RemoteProtocolError("too many header fields")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """The same inside TLS."""
        return BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What the connection says about itself."""
        return self._inner.get_extra_info(info)
