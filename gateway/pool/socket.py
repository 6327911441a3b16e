"""The tenant's end of a WebSocket: its frames checked, credited, and carried to and from a client.

What comes from the instance is hostile, as everything on the wire: a frame that does not fit kills
the instance. Both directions hold a window of credit at most.
"""

from __future__ import annotations

import asyncio
import codecs
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.errors import LimitExceeded, TenantFailed, WaypostError
from gateway.model.websocket import Part, Socket, Traffic
from sandbox import ProtocolError, payloads, protocol
from sandbox.payloads import LOST, MAX_CLOSE_REASON, NO_CODE, Close
from sandbox.protocol import MESSAGE_COST, FrameType

if TYPE_CHECKING:
    from gateway.pool.channel import Channel
    from gateway.pool.exchange import Exchange
    from gateway.pool.instance import Instance

GOING_AWAY: Final = 1001
_POLICY: Final = 1008
_FAILED: Final = 1011


def _violation(what: str) -> ProtocolError:
    return ProtocolError(f"the instance sent {what}")


class WireSocket:
    """Messages on one stream of the wire."""

    __slots__ = (
        "_channel",
        "_consumed",
        "_costs",
        "_kind",
        "_max_message",
        "_parts",
        "_returned",
        "_size",
        "_stream",
        "_unacked",
        "_utf8",
        "close_sent",
        "closed",
        "opened",
        "untaken",
    )

    def __init__(self, channel: Channel, stream: int, max_message: int) -> None:
        self.opened = False
        """The tenant has accepted."""
        self.closed: Close | None = None
        """What the tenant ended it with."""
        self.close_sent = False
        self.untaken = 0
        """Messages that the tenant was sent and has not taken."""
        self._channel = channel
        self._stream = stream
        self._max_message = max_message
        self._parts: deque[Part] = deque()
        self._kind = 0
        """Type of the message that is coming in parts; 0 between messages."""
        self._size = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._unacked = 0
        self._consumed = 0
        self._costs: deque[tuple[int, bool]] = deque()
        self._returned = 0

    # From the tenant

    def on_part(self, kind: int, payload: bytes, *, last: bool) -> None:
        """TEXT or BINARY frame."""
        if not self.opened or self.closed is not None:
            raise _violation("a message outside of an open WebSocket")
        if self._kind not in (0, kind):
            raise _violation("a message inside of another")
        if not payload and not last:
            raise _violation("a part of a message with nothing in it")
        self._unacked += len(payload) + MESSAGE_COST
        if self._unacked > protocol.WINDOW:
            raise _violation("more of a message than it had credit for")
        self._size += len(payload)
        if self._size > self._max_message:
            raise _violation("a message longer than its plan allows")
        if kind == FrameType.TEXT:
            try:
                self._utf8.decode(payload, last)
            except UnicodeDecodeError:
                raise _violation("text that is not UTF-8") from None
        self._kind = 0 if last else kind
        if last:
            self._size = 0
        self._parts.append(Part(kind == FrameType.TEXT, payload, last))

    def on_close(self, payload: bytes) -> None:
        """CLOSE frame."""
        close = payloads.decode_struct(Close, payload)
        if not self.opened or self.closed is not None:
            raise _violation("the close of a WebSocket that is not open")
        if close.code != NO_CODE and not payloads.may_close_with(close.code):
            raise _violation("a close code that may not be sent")
        if len(close.reason.encode("utf-8", "surrogatepass")) > MAX_CLOSE_REASON:
            raise _violation("a close reason that is too long")
        self.closed = close

    def on_credit(self, amount: int) -> int:
        """Note what the tenant has taken; how many messages that completes."""
        taken = 0
        self._returned += amount
        while self._costs and self._costs[0][0] <= self._returned:
            cost, last = self._costs.popleft()
            self._returned -= cost
            taken += last
        self.untaken -= taken
        return taken

    def take(self) -> Part | None:
        """The next part of the tenant's messages, None when there is none yet."""
        if not self._parts:
            return None
        part = self._parts.popleft()
        cost = len(part.data) + MESSAGE_COST
        self._unacked -= cost
        self._consumed += cost
        if self._consumed >= protocol.WINDOW // 4:
            self._channel.send(protocol.encode_credit(self._stream, self._consumed))
            self._consumed = 0
        return part

    # To the tenant

    def send(self, part: Part) -> int:
        """Send a part, for which there is credit; returns what it costs."""
        kind = FrameType.TEXT if part.text else FrameType.BINARY
        flags = protocol.END if part.last else 0
        self._channel.send(protocol.encode(kind, self._stream, part.data, flags))
        cost = len(part.data) + MESSAGE_COST
        self._costs.append((cost, part.last))
        self.untaken += part.last
        return cost

    def close(self, close: Close) -> None:
        """Tell the tenant how it ended; the first time counts."""
        if not self.close_sent:
            self.close_sent = True
            self._channel.send(payloads.encode_struct(FrameType.CLOSE, self._stream, close))


class Relay:
    """Carries messages between a client and an instance until one of them ends it."""

    def __init__(
        self, instance: Instance, exchange: Exchange, wire: WireSocket, client: Socket
    ) -> None:
        self.traffic = Traffic()
        self.bytes_in = 0
        self.bytes_out = 0
        self.lost = False
        """The client went away without a close."""
        self._instance = instance
        self._budget = instance.socket_budget
        self._exchange = exchange
        self._wire = wire
        self._client = client
        self._moved_ns = time.monotonic_ns()
        self._counted = (0, 0)

    async def run(self) -> None:
        """Carry. Raises the Refusal that ended it, once the client has been told."""
        exchange = self._exchange
        self._budget.set_deadline(exchange, None)
        self._client.on_over = self._on_over
        if self._client.over is not None:
            self._on_over()
        upward = asyncio.create_task(self._upward())
        try:
            close = await self._downward()
            self._client.close(close.code, close.reason)
            await upward
        except WaypostError as error:
            close = close_for(error)
            self._client.close(close.code, close.reason)
            self.traffic.close_code = close.code
            raise
        finally:
            upward.cancel()
            self._budget.set_deadline(exchange, exchange.route.limits.wall_ms * 1_000_000)

    async def _downward(self) -> Close:
        """The tenant's messages to the client, until the tenant or the platform ends it."""
        exchange, wire = self._exchange, self._wire
        while True:
            part = wire.take()
            if part is not None:
                self.bytes_out += len(part.data)
                self.traffic.messages_out += part.last
                self._moved_ns = time.monotonic_ns()
                await self._client.send(part)
            elif wire.closed is not None:
                return self._noted(wire.closed)
            elif exchange.failure is not None:
                raise exchange.failure
            elif exchange.farewell is not None:
                wire.close(exchange.farewell)
                return self._noted(exchange.farewell)
            else:
                await exchange.changed()

    async def _upward(self) -> None:
        """The client's messages to the tenant, and its close."""
        while isinstance(item := await self._client.receive(), Part):
            self._moved_ns = time.monotonic_ns()
            for start in range(0, len(item.data) or 1, protocol.CHUNK):
                data = item.data[start : start + protocol.CHUNK]
                last = item.last and start + protocol.CHUNK >= len(item.data)
                await self._send(Part(item.text, data, last))
        self._noted(item)
        self._wire.close(item)

    def _on_over(self) -> None:
        """The client has ended it: the tenant has as long to end as it has for a request."""
        exchange, close = self._exchange, self._client.over
        self._budget.set_deadline(exchange, exchange.route.limits.wall_ms * 1_000_000)
        if close is not None and close.code == LOST:
            self.lost = self._wire.closed is None and exchange.farewell is None
            waiter = exchange.upload_waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    async def _send(self, part: Part) -> None:
        exchange, wire = self._exchange, self._wire
        while exchange.send_credit < len(part.data) + MESSAGE_COST and not exchange.done:
            if self.lost:
                return
            exchange.upload_waiter = asyncio.get_running_loop().create_future()
            await exchange.upload_waiter
        if exchange.done or exchange.ended:
            return
        self.bytes_in += len(part.data)
        exchange.send_credit -= wire.send(part)
        if part.last:
            self.traffic.messages_in += 1
            self._budget.fund(exchange)

    def take_counts(self) -> tuple[int, int]:
        """Messages from and to the client since this was last asked."""
        known, traffic = self._counted, self.traffic
        self._counted = (traffic.messages_in, traffic.messages_out)
        return traffic.messages_in - known[0], traffic.messages_out - known[1]

    def _noted(self, close: Close) -> Close:
        if not self.traffic.close_code:
            self.traffic.close_code = close.code
        return close

    def tick(self, idle_seconds: float) -> None:
        """Once a second: earn CPU time, and end what has been idle for too long."""
        now_ns = time.monotonic_ns()
        if self._client.pinged:
            self._client.pinged = False
            self._moved_ns = now_ns
        if now_ns - self._moved_ns > idle_seconds * 1e9:
            self._exchange.dismiss(Close(GOING_AWAY, f"idle for {idle_seconds:g} s"))
        else:
            self._instance.refill(self._exchange)


def close_for(error: WaypostError) -> Close:
    """How a client is told of what ended its WebSocket."""
    if isinstance(error, LimitExceeded):
        return Close(_POLICY, error.title)
    if isinstance(error, TenantFailed):
        return Close(_FAILED, error.title)
    return Close(_FAILED, "The platform could not go on.")
