"""Requests that need not wait for anything on their way in, served without a task of their own.

An instance with room and a free slot are the usual case. There a request without a body is put in
as soon as its head is read, and an answer that came in one piece is written at once. Whatever else
happens (a body that streams, a failure, a limit, a client that leaves) the request goes on in the
corridor as a task, from where it stands.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.dispatch import Ride
from gateway.edge.cookies import SET_COOKIE
from gateway.edge.headers import check_response
from gateway.errors import ClientDisconnected, Refusal
from gateway.model.http import HeaderList

if TYPE_CHECKING:
    from gateway.edge.asgi import Edge
    from gateway.edge.connection import HttpConnection

logger = logging.getLogger(__name__)

_BODILESS: Final = (204, 304)


class _Unheard:
    """Stands in for an event that nobody awaits."""

    def set(self) -> None:
        """Tell nobody."""


class ExpressCycle:
    """A request and its answer; for the connection it is a cycle like uvicorn's."""

    __slots__ = (
        "_connection",
        "_edge",
        "_ride",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    message_event = _Unheard()
    waiting_for_100_continue = False

    def __init__(self, connection: HttpConnection, edge: Edge, scope: dict[str, Any]) -> None:
        self._connection = connection
        self._edge = edge
        self._ride: Ride | None = None
        self.scope = scope
        self.more_body = True
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    def board(self) -> bool:
        """Put the request in; False when it has to go the long way."""
        self._ride = self._edge.board(self.scope, self._on_news)
        return self._ride is not None

    def lose_client(self) -> None:
        """The client is gone."""
        if self._ride is not None and not self.disconnected and not self.response_complete:
            self.disconnected = True
            self._ride.lease.fail(ClientDisconnected())

    def _on_news(self) -> None:
        """Frames of the answer have come, or the invocation is over."""
        ride = self._ride
        if ride is None:
            raise RuntimeError("news of a request that was never put in")
        data = None
        if not self.disconnected and self.keep_alive and not self._connection.flow.write_paused:
            data = self._whole_answer(ride)
        if data is None:
            self._connection.go_on(self)
            return
        self.response_started = self.response_complete = True
        self._connection.answer(data)
        self._edge.arrive(ride)

    def _whole_answer(self, ride: Ride) -> bytes | None:
        """The bytes of an answer that is complete and needs no care; None of any other."""
        answer = ride.lease.answer()
        if answer is None or self.scope["method"] == "HEAD":
            return None
        head, size = answer
        try:
            checked = check_response(head.status, head.headers)
        except Refusal:
            return None
        parts = self._head(head.status, checked, size)
        if parts is None:
            return None
        invocation = ride.invocation
        invocation.status, invocation.bytes_out = head.status, size
        parts += (b"waypost-ray: ", invocation.request.ray.encode(), b"\r\n\r\n", ride.lease.take())
        return b"".join(parts)

    def _head(self, status: int, checked: HeaderList, size: int) -> list[bytes] | None:
        if status in _BODILESS:
            return None
        parts = [STATUS_LINE[status]]
        declared = False
        for name, value in (*self._connection.server_state.default_headers, *checked):
            if name == SET_COOKIE:
                return None
            if name == b"content-length":
                declared = True
                if int(value) != size:
                    return None
            parts += (name, b": ", value, b"\r\n")
        if not declared:
            parts.append(b"content-length: %d\r\n" % size)
        return parts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Go on in the corridor: the ASGI application of the cycle that takes this one's place."""
        if self._ride is not None:
            await self._edge.resume(self._ride, scope, receive, send)
