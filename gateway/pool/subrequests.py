"""Subrequests on the wire: counted here, outside the tenant's reach, performed by a Fetcher."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from gateway.pool.channel import MAX_SUBREQUESTS_OPEN, Channel
from gateway.pool.exchange import Exchange, protocol_violation
from gateway.pool.inbox import Inbox
from sandbox import payloads, protocol
from sandbox.payloads import FetchedHead, FetchError, FetchHead
from sandbox.protocol import FrameType

logger = logging.getLogger(__name__)

MAX_REFUSED = 1000
"""Subrequests over the limit that one invocation may try before it is taken for an attack."""


class Fetched(Protocol):
    """An answer whose body is still to be read."""

    head: FetchedHead

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""

    async def close(self) -> None:
        """Give the connection back."""


class Fetcher(Protocol):
    """Performs subrequests (gateway.bindings)."""

    async def fetch(
        self, head: FetchHead, body: AsyncIterator[bytes] | None, *, hops: int, tenant: str
    ) -> Fetched:
        """Send a tenant's request, the ``hops``-th in a row of workers that ask each other.

        Raises an error with ``code`` and ``message``.
        """


class _Call:
    """One subrequest under way."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.task: asyncio.Task[None] | None = None
        self.credit = protocol.WINDOW
        self.credit_event = asyncio.Event()
        self.body = Inbox()
        self.body_event = asyncio.Event()
        self.has_body = False
        self.body_unacked = 0
        self.body_ended = False


class WireSubrequests:
    """All subrequests of one instance."""

    def __init__(self, channel: Channel, fetcher: Fetcher) -> None:
        self._channel = channel
        self._fetcher = fetcher
        self._calls: dict[int, _Call] = {}

    def on_fetch(self, stream: int, payload: bytes, exchange: Exchange, *, ended: bool) -> None:
        """Count it, refuse it or perform it."""
        if stream in self._calls:
            raise protocol_violation("a subrequest on a stream that is in use")
        exchange.subrequests += 1
        allowed = exchange.route.limits.subrequests
        if exchange.subrequests > allowed + MAX_REFUSED:
            # Each refusal waits in a buffer for a peer that may never read it.
            raise protocol_violation("subrequests without end")
        if exchange.subrequests > allowed:
            self._refuse(
                stream,
                "subrequest_limit",
                f"Too many subrequests by single Worker invocation. The plan allows {allowed}.",
            )
            return
        if len(self._calls) >= MAX_SUBREQUESTS_OPEN:
            self._refuse(
                stream,
                "too_many_open",
                f"At most {MAX_SUBREQUESTS_OPEN} subrequests of "
                "one instance may be under way at once.",
            )
            return
        head = payloads.decode_struct(FetchHead, payload)
        call = self._calls[stream] = _Call(exchange)
        # Said now: when the task begins, a short body may have ended already.
        call.has_body = not ended
        call.body_ended = ended
        call.task = asyncio.create_task(self._perform(stream, head, call))

    def on_body(self, stream: int, payload: bytes, *, ended: bool) -> bool:
        """Body bytes from the tenant, within its credit."""
        call = self._calls.get(stream)
        if call is None:
            return False
        if call.body_ended:
            raise protocol_violation("body bytes after the end of a subrequest")
        call.body_unacked += len(payload)
        if call.body_unacked > protocol.WINDOW:
            raise protocol_violation("more subrequest bytes than it had credit for")
        if payload:
            call.body.put(payload)
            call.exchange.on_moved(len(payload))
        call.body_ended = ended
        call.body_event.set()
        return True

    def on_credit(self, stream: int, amount: int) -> None:
        """The tenant consumed part of an answer."""
        call = self._calls.get(stream)
        if call is not None:
            call.credit += amount
            if call.credit > protocol.WINDOW:
                raise protocol_violation("credit for bytes that were never sent")
            call.credit_event.set()

    def on_cancel(self, stream: int) -> None:
        """The tenant lost interest."""
        call = self._calls.pop(stream, None)
        if call is not None and call.task is not None:
            call.task.cancel()

    def end_of(self, exchange: Exchange) -> None:
        """The invocation is over: what it still has under way is dropped."""
        if not self._calls:
            return
        for stream in [s for s, call in self._calls.items() if call.exchange is exchange]:
            self.on_cancel(stream)

    def close(self) -> None:
        """The instance is gone."""
        for stream in list(self._calls):
            self.on_cancel(stream)

    def _refuse(self, stream: int, code: str, message: str) -> None:
        error = FetchError(code, message)
        self._channel.send(payloads.encode_struct(FrameType.FETCH_ERROR, stream, error))

    async def _perform(self, stream: int, head: FetchHead, call: _Call) -> None:
        body = self._tenant_body(stream, call) if call.has_body else None
        try:
            exchange = call.exchange
            answer = await self._fetcher.fetch(
                head, body, hops=exchange.request.hops + 1, tenant=exchange.route.tenant
            )
            try:
                await self._answer(stream, answer, call)
            finally:
                await answer.close()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            code = getattr(error, "code", None)
            if not isinstance(code, str):
                logger.exception("subrequest failed")
                code, message = "internal", "The platform could not perform the subrequest."
            else:
                message = str(getattr(error, "message", error))
            self._refuse(stream, code, message)
        finally:
            # A cancelled one ends later than it is forgotten: its stream may be another's by then.
            if self._calls.get(stream) is call:
                del self._calls[stream]

    async def _tenant_body(self, stream: int, call: _Call) -> AsyncIterator[bytes]:
        consumed = 0
        while call.body or not call.body_ended:
            if not call.body:
                call.body_event.clear()
                await call.body_event.wait()
                continue
            chunk = call.body.take()
            yield chunk
            call.body_unacked -= len(chunk)
            consumed += len(chunk)
            if consumed >= protocol.WINDOW // 2 and not call.body_ended:
                # Not for every piece: two bytes would be answered with sixteen.
                self._channel.send(protocol.encode_credit(stream, consumed))
                consumed = 0

    async def _answer(self, stream: int, answer: Fetched, call: _Call) -> None:
        await self._channel.room()
        self._channel.send(payloads.encode_struct(FrameType.FETCHED, stream, answer.head))
        async for data in answer.chunks():
            for start in range(0, len(data), protocol.CHUNK):
                chunk = data[start : start + protocol.CHUNK]
                while call.credit < len(chunk):
                    call.credit_event.clear()
                    await call.credit_event.wait()
                await self._channel.room()
                call.credit -= len(chunk)
                call.exchange.on_moved(len(chunk))
                self._channel.send(protocol.encode(FrameType.BODY, stream, chunk))
        self._channel.send(protocol.encode(FrameType.BODY, stream, b"", protocol.END))
