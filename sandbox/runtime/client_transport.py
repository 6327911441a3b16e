"""The connection of an asynchronous HTTP client (aiohttp): a transport without a socket.

The client writes HTTP/1.1 to it. Once a request is complete it goes out through ``fetch``, and the
answer comes back as HTTP/1.1 that ends with the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from sandbox.payloads import HeaderList
from sandbox.runtime.workers.fetching import fetch
from sandbox.runtime.workers.request import Request
from sandbox.runtime.workers.response import FetchResponse

_END_OF_HEAD = b"\r\n\r\n"


class Asked(Protocol):
    """One request as a client writes it."""

    def write(self, data: Any) -> None:
        """Take a part of the request."""

    def request(self) -> Request:
        """Return the whole request. Raises OSError when it is none."""


def encode_head(answer: FetchResponse) -> bytes:
    """Write the head of an answer that ends with its connection."""
    pairs: HeaderList = [*answer.encoded_headers(), (b"connection", b"close")]
    lines = [f"HTTP/1.1 {answer.status} {answer.status_text}".encode("latin-1", "replace")]
    return b"\r\n".join([*lines, *(b"%s: %s" % pair for pair in pairs), b"", b""])


class Framing:
    """Tells where a request in HTTP/1.1 ends."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._body = 0
        self._chunk = 0
        self._length: int | None = None

    def feed(self, data: Any) -> bool:
        """Take bytes; return whether the request is complete. Raises ValueError on bad chunks."""
        self.data += data
        if not self._body and not self._read_head():
            return False
        if self._length is not None:
            return len(self.data) >= self._body + self._length
        return self._read_chunks()

    def _read_head(self) -> bool:
        end = self.data.find(_END_OF_HEAD)
        if end < 0:
            return False
        self._body = self._chunk = end + len(_END_OF_HEAD)
        self._length = 0
        for line in bytes(self.data[:end]).lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._length = int(value)
            elif name == b"transfer-encoding":
                self._length = None
                break
        return True

    def _read_chunks(self) -> bool:
        while (end := self.data.find(b"\r\n", self._chunk)) >= 0:
            size = int(bytes(self.data[self._chunk : end]).partition(b";")[0], 16)
            if not size:
                return self.data.find(_END_OF_HEAD, end) >= 0
            following = end + 2 + size + 2
            if following > len(self.data):
                break
            self._chunk = following
        return False


class ClientTransport(asyncio.Transport):
    """Carries one request of a client and its answer."""

    def __init__(self, asked: Asked, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._asked = asked
        self._protocol = protocol
        self._framing: Framing | None = Framing()
        self._task: asyncio.Task[None] | None = None
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._closing = False

    def write(self, data: Any) -> None:
        """Take a part of the request; the last one sends it."""
        if self._framing is None or not self._framing.feed(data):
            return
        self._asked.write(self._framing.data)
        self._framing = None
        self._task = asyncio.get_running_loop().create_task(self._perform())

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Take several parts."""
        for data in list_of_data:
            self.write(data)

    async def _perform(self) -> None:
        error: Exception | None = None
        try:
            answer = await fetch(self._asked.request())
            self._protocol.data_received(encode_head(answer))
            async for chunk in answer.take_chunks():
                await self._may_go_on.wait()
                self._protocol.data_received(chunk)
            await self._may_go_on.wait()
        except Exception as failure:
            error = failure
        if not self._closing:
            self._closing = True
            self._protocol.eof_received()
            self._protocol.connection_lost(error)

    def pause_reading(self) -> None:
        """Hold the answer back."""
        self._may_go_on.clear()

    def resume_reading(self) -> None:
        """Let the answer go on."""
        self._may_go_on.set()

    def is_closing(self) -> bool:
        """Say whether it is over."""
        return self._closing

    def close(self) -> None:
        """Give up what is under way."""
        if self._closing:
            return
        self._closing = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Give up what is under way."""
        self.close()

    def get_write_buffer_size(self) -> int:
        """Nothing waits to be sent."""
        return 0
