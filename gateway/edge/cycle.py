"""Answers that need care: to requests with a body, to HTTP/1.0, to what is not HTTP at all."""

from __future__ import annotations

import sys
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.edge.cork import CorkedTransport
from gateway.errors import ClientDisconnected, Refusal
from gateway.model.http import HeaderList

UPGRADE = "waypost.upgrade"
"""Key of the ASGI scope under which the connection offers to become a WebSocket."""
ANNOUNCED = "waypost.announced"
"""Key of the ASGI scope under which the connection says how long the chunk is that comes now."""
REFUSAL = "waypost.refusal"
"""Key of the ASGI scope under which the connection says why it refuses a request."""

ENOUGH = 8 * 1024
"""Bytes of a body that need not be whole: who sends them does not drip."""


class CarefulCycle(RequestResponseCycle):
    """A request and its answer, where more can go wrong than with a bodiless HTTP/1.1 request."""

    broken = False
    """The rest of the request's body cannot be read."""
    begun = False
    """Some of the request's body may have been read."""
    _unframed = False

    async def receive(self) -> Any:
        """As ASGI says; a broken body ends in a disconnect, with the reason in the scope."""
        self.begun = True
        message = await super().receive()
        return {"type": "http.disconnect"} if self.broken else message

    @property
    def arrived(self) -> bool:
        """Whether there is nothing of the request's body to wait for, or enough of it has come."""
        ended = self.broken or self.disconnected or self.response_complete
        return ended or not self.more_body or len(self.body) >= ENOUGH

    async def arrive(self, most: int) -> None:
        """Return once that is so, or more than ``most`` bytes are announced.

        Raises ClientDisconnected, or what the body is refused for.
        """
        scope = cast("dict[str, Any]", self.scope)
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.arrived and scope.get(ANNOUNCED, 0) <= most:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        # For who reads the body.
        self.message_event.set()
        if self.broken or self.disconnected:
            raise scope.get(REFUSAL) or ClientDisconnected()

    async def send(self, message: Any) -> None:
        """As ASGI says, with an answer to HTTP/1.0 that tells no length ended by the end of the
        connection."""
        if message["type"] == "http.response.start":
            if self.waiting_for_100_continue:
                # Whether the body will come is the client's choice: nothing can follow it.
                self.keep_alive = False
            if self.scope["http_version"] == "1.0":
                message = {**message, "headers": self._frame_for_http10(message["headers"])}
        elif self._unframed and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)

    def _frame_for_http10(self, headers: HeaderList) -> HeaderList:
        """The fields with what such a client must be told for its connection to stay."""
        names = {name for name, _ in headers}
        if b"content-length" not in names:
            self._unframed = True
            self.keep_alive = self.chunked_encoding = False
            self.expected_content_length = sys.maxsize
        if self.keep_alive and b"connection" not in names:
            return [*headers, (b"connection", b"keep-alive")]
        return headers

    async def run_asgi(self, app: Any) -> None:
        """Run the application; an unframed answer that it leaves incomplete is cut, not ended."""
        await super().run_asgi(app)
        if self._unframed and not self.response_complete:
            self.transport.cut()  # type: ignore[attr-defined]

    async def send_500_response(self) -> None:
        """The application gave no answer; 400 when it could not read the request."""
        if not self.broken:
            await super().send_500_response()
            return
        await send_plain(cast("dict[str, Any]", self.scope)[REFUSAL], self.send)


def arrival_of(receive: object) -> CarefulCycle | None:
    """Where the body that ``receive`` reads arrives, if it is this connection's own."""
    cycle = getattr(receive, "__self__", None)
    return cycle if isinstance(cycle, CarefulCycle) else None


def write_body_now(cycle: object, pieces: list[memoryview], size: int) -> bool:
    """Write so many bytes of an answer's body past its cycle; False where it would have to wait."""
    if not isinstance(cycle, RequestResponseCycle) or not size or cycle.flow.write_paused:
        return False
    if not cycle.response_started or cycle.response_complete or cycle.disconnected:
        return False
    corked = cycle.transport
    if not isinstance(corked, CorkedTransport) or corked.is_closing():
        return False
    if cycle.chunked_encoding:
        corked.write_now([b"%x\r\n" % size, *pieces, b"\r\n"])
    elif size <= cycle.expected_content_length:
        cycle.expected_content_length -= size
        corked.write_now(pieces)
    else:
        return False
    return True


def is_crowded(cycle: object) -> bool:
    """Whether what a cycle has written waits for a client that may still read it."""
    if not isinstance(cycle, RequestResponseCycle):
        return False
    return cycle.flow.write_paused and not cycle.disconnected


async def send_plain(refusal: Refusal, send: Any) -> None:
    """Answer a refusal where no page is at hand."""
    body = f"{refusal.status} {refusal.title}\n\n{refusal.detail}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"waypost-code", refusal.code.encode()),
    ]
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after_seconds))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_refusals(app: Any) -> Any:
    """An ASGI application that is not bothered with requests the connection refuses."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        refusal = scope.get(REFUSAL)
        if refusal is None:
            await app(scope, receive, send)
        else:
            await send_plain(refusal, send)

    return serve
