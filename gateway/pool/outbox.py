"""What is on its way to an instance: frames of one turn together, and who waits for room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from gateway.pool.passage import LARGE
from sandbox import protocol
from sandbox.protocol import FrameType

HIGH_WATER: Final = 256 * 1024
"""Bytes that wait for an instance to read them; above, bodies for it wait where they come from."""


class Outbox:
    """Writes frames, all of one turn of the loop at once.

    A write that wakes the instance costs as much as a small request, and one that finds it awake
    costs little.
    """

    __slots__ = ("_bytes", "_closed", "_frames", "_loop", "_on_unread", "_paused", "_waiting", "to")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_unread: Callable[[int], None]) -> None:
        """``on_unread`` hears of bytes that wait in vain, each time there are more of them."""
        self._loop = loop
        self._on_unread = on_unread
        self.to: asyncio.Transport | None = None
        """The wire, once it is up."""
        self._frames: list[bytes | memoryview] = []
        self._bytes = 0
        self._paused = False
        self._closed = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def send(self, data: bytes | memoryview) -> None:
        """Write frames before the loop waits; dropped when the wire is down."""
        if self._closed:
            return
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(data)
        self._bytes += len(data)

    def _flush(self) -> None:
        transport = self.to
        if transport is None or transport.is_closing():
            # What stays here was never sent, and is told as that.
            return
        frames, self._frames = self._frames, []
        size, self._bytes = self._bytes, 0
        if size >= LARGE:
            transport.writelines(frames)
        else:
            transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if self._paused:
            self._on_unread(transport.get_write_buffer_size())
        elif self._waiting:
            self._let_go()

    def unsent(self) -> Iterator[int]:
        """Streams of invocations whose request is not on the wire yet."""
        data, at = b"".join(self._frames), 0
        while at < len(data):
            length, kind, _, _, stream = protocol.HEADER.unpack_from(data, at)
            if kind == FrameType.REQUEST:
                yield stream
            at += protocol.HEADER_SIZE + length

    async def room(self) -> None:
        """Wait until the instance has read most of what it was sent; not at all when it is gone."""
        while (self._paused or self._bytes >= HIGH_WATER) and not self._closed:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter

    def pause(self) -> None:
        """More waits for the instance than is good."""
        self._paused = True

    def resume(self) -> None:
        """The instance has read most of it."""
        self._paused = False
        self._let_go()

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        """Have those who wait for room look again, in order."""
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
