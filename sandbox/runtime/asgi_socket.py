"""ASGI's ``websocket`` scope over one WebSocket."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from sandbox.payloads import LOST, HeaderList
from sandbox.runtime.context import Invocation
from sandbox.runtime.headers import check_status, encode_pairs
from sandbox.runtime.sockets import SocketClosed, SocketWire

Message = MutableMapping[str, Any]
SCOPE: dict[str, Any] = {
    "type": "websocket",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "extensions": {"websocket.http.response": {}},
}
"""What the scope of a WebSocket has in place of a request's."""


def socket_scope(scope: dict[str, Any]) -> dict[str, Any]:
    """Make a WebSocket's scope of the request's that asks for it."""
    protocols = [
        token.strip()
        for name, value in scope["headers"]
        if name == b"sec-websocket-protocol"
        for token in value.decode("latin-1").split(",")
    ]
    scheme = "wss" if scope["scheme"] == "https" else "ws"
    scope = {**scope, **SCOPE, "scheme": scheme, "subprotocols": [p for p in protocols if p]}
    del scope["method"]
    return scope


class SocketExchange:
    """The receive and send of one WebSocket, from its handshake on."""

    def __init__(self, invocation: Invocation, wire: SocketWire) -> None:
        self._invocation = invocation
        self._wire = wire
        self._greeted = False
        self._denied: tuple[int, HeaderList] | None = None

    async def receive(self) -> Message:
        """As ASGI says."""
        if not self._greeted:
            self._greeted = True
            return {"type": "websocket.connect"}
        wire = self._wire
        if not wire.opened:
            if not self._invocation.response.ended:
                await self._invocation.disconnected()
            return {"type": "websocket.disconnect", "code": LOST, "reason": ""}
        message = await wire.receive()
        if message is None:
            closed = wire.closed
            code, reason = (closed.code, closed.reason) if closed else (1000, "")
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def send(self, message: Message) -> None:
        """As ASGI says; raises OSError when the client is gone."""
        kind = str(message.get("type"))
        if self._wire.opened:
            await self._send_open(kind, message)
        elif self._invocation.cancelled:
            raise SocketClosed("the client left before it was answered")
        elif self._invocation.response.ended:
            raise RuntimeError(f"{kind} was sent after the handshake was refused")
        elif kind.startswith("websocket.http.response."):
            await self._deny(kind, message)
        else:
            self._answer(kind, message)

    async def _send_open(self, kind: str, message: Message) -> None:
        if kind == "websocket.send":
            data = message.get("bytes")
            await self._wire.send(message.get("text", "") if data is None else data)
        elif kind == "websocket.close":
            code = message.get("code")
            self._wire.close(1000 if code is None else code, message.get("reason") or "")
            await self._wire.flushed()
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r} on an open WebSocket")

    def _answer(self, kind: str, message: Message) -> None:
        invocation, channel = self._invocation, self._invocation.server.channel
        if kind == "websocket.accept":
            headers = encode_pairs(message.get("headers") or ())
            protocol = message.get("subprotocol")
            if protocol is not None:
                headers.append((b"sec-websocket-protocol", protocol.encode("latin-1")))
            channel.send(invocation.head_frame(101, headers))
            self._wire.open()
        elif kind == "websocket.close":
            head = invocation.head_frame(403, [(b"content-type", b"text/plain")])
            channel.send(head + invocation.response.frame(b"403 Forbidden\n"))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r} before websocket.accept")

    async def _deny(self, kind: str, message: Message) -> None:
        invocation = self._invocation
        if kind.endswith("start"):
            headers = encode_pairs(message.get("headers", ()))
            self._denied = (check_status(message["status"]), headers)
            return
        if self._denied is not None:
            status, headers = self._denied
            self._denied = None
            invocation.server.channel.send(invocation.head_frame(status, headers))
        elif not invocation.head_sent:
            raise RuntimeError(f"{kind} was sent before its start")
        end = not message.get("more_body", False)
        await invocation.response.write(bytes(message.get("body", b"")), end=end)

    async def finish(self) -> None:
        """The application has returned: an open WebSocket ends with it."""
        wire, invocation = self._wire, self._invocation
        if wire.opened:
            wire.close()
            await wire.flushed()
        elif not invocation.response.ended and not invocation.cancelled:
            raise RuntimeError("the ASGI application returned without accepting or refusing")
