"""How answers leave: one write for a small one, and an end that the client can see.

A write to a socket costs as much as a third of a small request, and a client that gets its answer
in two packets wakes twice.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

_HEAD = b"HTTP/1.1 "
_INTERIM = b"HTTP/1.1 1"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LINGER_SECONDS = 2.0
"""How long a client that still sends gets to read its answer before the connection is closed."""


class CorkedTransport:
    """A transport that holds a response's head back until the body's first bytes, or the end of
    the event loop's turn, whichever is first."""

    __slots__ = (
        "_closing",
        "_held",
        "_loop",
        "_on_last_word",
        "_stall_seconds",
        "_transport",
        "moved",
        "unread",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        stall_seconds: float,
        on_last_word: Callable[[], None],
    ) -> None:
        """``on_last_word`` is called when this end has closed, and the other may still send."""
        self._transport = transport
        self._loop = loop
        self._stall_seconds = stall_seconds
        self._on_last_word = on_last_word
        self._held = b""
        self._closing = False
        self.moved = False
        """Something was written since this was last put out."""
        self.unread = False
        """More of the request may come, which nobody will read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, together with a head that was held back."""
        self.moved = True
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._held = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def write_whole(self, data: bytes) -> None:
        """Write an answer that is complete."""
        if self._held:
            self.flush()
        self.moved = True
        self._transport.write(data)

    def write_now(self, parts: Sequence[bytes | memoryview]) -> None:
        """Write pieces that are gone when this returns: from where they lie, as far as the socket
        takes them and nothing waits before them."""
        self.flush()
        self.moved = True
        transport = self._transport
        if not transport.get_write_buffer_size():
            parts = _write_to(transport.get_extra_info("socket"), parts)
        if parts:
            transport.write(b"".join(parts))

    def flush(self) -> None:
        """Write a head that nothing followed."""
        if self._held:
            data, self._held = self._held, b""
            if not self._transport.is_closing():
                self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether this end has said its last."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Write what is held back, then close.

        Closing a socket with unread input resets the connection, and the answer is lost with it:
        a client that still sends gets the end of the answer first, and a while to read it.
        """
        self.flush()
        if self._closing:
            return
        self._closing = True
        if self.unread and not self._transport.is_closing():
            self._on_last_word()
            self._transport.write_eof()
            self._loop.call_later(LINGER_SECONDS, self._transport.close)
        else:
            self._transport.close()
        if self._transport.get_write_buffer_size():
            # Who does not read would keep the socket for ever.
            self._loop.call_later(self._stall_seconds, self._transport.abort)

    def cut(self) -> None:
        """Reset the connection, so that what was sent cannot look complete."""
        self._held = b""
        self._closing = True
        sock = self._transport.get_extra_info("socket")
        if (
            sock is not None
            and sock.fileno() >= 0
            and sock.family in (socket.AF_INET, socket.AF_INET6)
        ):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


def _write_to(sock: Any, parts: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
    """Write to a socket that has nobody else's bytes to send; what it did not take."""
    try:
        written = os.writev(sock.fileno(), parts)
    except OSError:
        # It is full, or broken: the transport finds out which.
        return parts
    for number, part in enumerate(parts):
        if written < len(part):
            return [part[written:], *parts[number + 1 :]]
        written -= len(part)
    return []


class HeldFlow(FlowControl):
    """Flow control in which reading can be held, whoever else asks for it to go on."""

    held = False

    def resume_reading(self) -> None:
        """Read on, unless reading is held."""
        if not self.held:
            super().resume_reading()

    def hold(self) -> None:
        """Read nothing more."""
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        """Read on."""
        if self.held:
            self.held = False
            self.resume_reading()
