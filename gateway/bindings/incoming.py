"""What comes back from where a tenant asked, before the parser of HTTP has it.

The parser takes a line, an interim response or a chunk at a time and goes on while it has any, and
so long all other requests of the node wait. Whom a tenant asks decides how many there are: so they
are counted first, and little is read at once of what has many.
"""

from __future__ import annotations

import re
from typing import Any, Final

import httpcore

MAX_LINES: Final = 300
"""Of one head, and of what follows a chunked body."""
MAX_INTERIM: Final = 16
"""Interim responses (1xx) before the answer itself."""
HEAD_READ: Final = 16 * 1024
FIRST_READ: Final = 4 * 1024
"""Of a chunked body, and whenever it has many chunks; twice as much after each that has few."""
_FEW: Final = 16
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_BLANK_BYTES: Final = 3
_STATUS_AT: Final = len(b"HTTP/1.1 ")
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding[ \t]*:[^\n]*chunked", re.IGNORECASE)
_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,20}")
_SIZE_LINE: Final = 32
"""Of the line before a chunk, so much is looked at."""
_FOR_EVER: Final = 1 << 62


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection on which nothing but content is long."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._head: bytearray | None = None
        """What has come of a head; None while none is expected."""
        self._lines = self._interim = 0
        self._chunks: _Chunks | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's signature
        """Raises httpcore.RemoteProtocolError for what no server would send."""
        if self._head is not None:
            data = await self._inner.read(min(max_bytes, HEAD_READ), timeout)
            self._look(self._head, data)
        elif self._chunks is not None:
            data = await self._inner.read(min(max_bytes, self._chunks.read_size), timeout)
            self._chunks.feed(data)
        else:
            data = await self._inner.read(max_bytes, timeout)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's signature
        """A request is on its way: an answer follows."""
        self._head, self._chunks = bytearray(), None
        self._lines = self._interim = 0
        await self._inner.write(buffer, timeout)

    def _look(self, head: bytearray, data: bytes) -> None:
        begin = max(0, len(head) - _BLANK_BYTES)
        head += data
        self._lines += data.count(b"\n")
        while (blank := _BLANK_LINE.search(head, begin)) is not None:
            end = blank.end()
            _check(head.count(b"\n", 0, end))
            if head[_STATUS_AT : _STATUS_AT + 1] != b"1":
                self._begin_body(bytes(head[:end]), bytes(head[end:]))
                return
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise httpcore.RemoteProtocolError("too many interim responses")
            del head[:end]
            self._lines = head.count(b"\n")
            begin = 0
        _check(self._lines)

    def _begin_body(self, head: bytes, body: bytes) -> None:
        self._head = None
        if _CHUNKED.search(head) is not None:
            self._chunks = _Chunks()
            self._chunks.feed(body)

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


class _Chunks:
    """Follows a chunked body to where its trailers begin; the parser says whether it is one."""

    def __init__(self) -> None:
        self.read_size = FIRST_READ
        self._skip = 0
        self._line = b""
        self._trailers = False
        self._lines = 0

    def feed(self, data: bytes) -> None:
        """Take what was read. Raises httpcore.RemoteProtocolError at too many trailers."""
        at = chunks = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                at += step
                self._skip -= step
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line = (self._line + data[at : at + _SIZE_LINE])[:_SIZE_LINE]
                break
            chunks += 1
            self._on_line(self._line + data[at : min(end, at + _SIZE_LINE)])
            self._line, at = b"", end + 1
        few = chunks <= _FEW
        self.read_size = min(self.read_size * 2, 1 << 16) if few else FIRST_READ

    def _on_line(self, line: bytes) -> None:
        if self._trailers:
            self._lines += 1
            _check(self._lines)
            return
        size = _SIZE.match(line)
        if size is None:  # The parser will not take it.
            self._skip = _FOR_EVER
        elif length := int(size[0], 16):
            self._skip = length + len(b"\r\n")
        else:
            self._trailers = True


def _check(lines: int) -> None:
    if lines > MAX_LINES:
        raise httpcore.RemoteProtocolError("too many header fields")
