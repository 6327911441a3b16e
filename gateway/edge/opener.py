"""WebSockets for the control API, whose endpoints know HTTP only."""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.edge.asgi import RayIds
from gateway.edge.cycle import UPGRADE, send_plain
from gateway.edge.handshake import Offer, answer_head, check_offer
from gateway.edge.reply import Upgradable
from gateway.errors import Refusal
from gateway.model.websocket import OPEN_SOCKET, Socket


class _Opener(NamedTuple):
    connection: Upgradable
    offer: Offer
    ray: bytes

    @property
    def protocols(self) -> tuple[bytes, ...]:
        """The subprotocols that the client speaks."""
        return self.offer.protocols

    def open(self, protocol: str, max_message: int, *, masked: bool) -> Socket:
        """Answer the handshake."""
        chosen = [(b"sec-websocket-protocol", protocol.encode())] if protocol else []
        head = answer_head(self.offer, chosen, self.ray)
        return self.connection.open_socket(head, max_message, masked=masked)


def with_openers(app: Any) -> Any:
    """An ASGI application whose requests say how to become a WebSocket where they may."""
    rays = RayIds()

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if UPGRADE in scope:
            try:
                offer = check_offer(scope["headers"])
            except Refusal as refusal:
                await send_plain(refusal, send)
                return
            scope[OPEN_SOCKET] = _Opener(scope[UPGRADE], offer, rays.next().encode())
        await app(scope, receive, send)

    return serve
