"""Requests that need not wait for anything on their way in, served without a task of their own.

An instance with room and a free slot are the usual case. There a request without a body is put in
as soon as its head is read, and an answer that came in one piece is written at once. Whatever else
happens (a body that streams, a failure, a limit, a client that leaves) the request goes on in the
corridor as a task, from where it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.dispatch import Ride
from gateway.edge.cookies import SET_COOKIE
from gateway.edge.headers import check_response
from gateway.errors import ClientDisconnected, Refusal
from gateway.model.http import HeaderList
from gateway.model.invocation import Invocation

if TYPE_CHECKING:
    from gateway.edge.asgi import Edge
    from gateway.edge.connection import HttpConnection
    from sandbox.payloads import ResponseHead

MAX_KEPT: Final = 1024
"""Heads of answers that are remembered on a node."""
MAX_KEPT_BYTES: Final = 1024
"""A longer head is not."""
_BODILESS: Final = (204, 205, 304)


class _Unheard:
    """Stands in for an event that nobody awaits."""

    def set(self) -> None:
        """Tell nobody."""


class Fields(NamedTuple):
    """The head of an answer as it leaves, without Content-Length and the server's own fields."""

    lines: bytes
    length: int | None
    """What the answer declared its length to be."""


class Answers:
    """Writes the fields of plain answers, and remembers them: a worker's answers are much alike."""

    def __init__(self) -> None:
        self._written: dict[int, tuple[ResponseHead, Fields | None]] = {}
        self._own: tuple[HeaderList, bytes] = ([], b"")

    @property
    def remembered(self) -> int:
        """How many heads are."""
        return len(self._written)

    def fields(self, head: ResponseHead) -> Fields | None:
        """The head as it leaves; None when the answer is not plain, or none at all.

        A head is remembered as the object that it is: the wire gives the same for the same bytes.
        """
        known = self._written.get(id(head))
        if known is not None and known[0] is head:
            return known[1]
        written = _write(head.status, head.headers)
        if sum(len(name) + len(value) for name, value in head.headers) <= MAX_KEPT_BYTES:
            if len(self._written) >= MAX_KEPT:
                self._written.clear()
            self._written[id(head)] = head, written
        return written

    def own_lines(self, headers: HeaderList) -> bytes:
        """The server's own fields, as they leave; the list is another one each second."""
        known, lines = self._own
        if known is not headers:
            lines = b"".join(b"%b: %b\r\n" % field for field in headers)
            self._own = headers, lines
        return lines


def _write(status: int, headers: HeaderList) -> Fields | None:
    if status in _BODILESS:
        return None
    try:
        checked = check_response(status, headers)
    except Refusal:
        return None
    length: int | None = None
    lines = [STATUS_LINE[status]]
    for name, value in checked:
        if name == SET_COOKIE:
            return None
        if name == b"content-length":
            length = int(value)
        else:
            lines.append(b"%b: %b\r\n" % (name, value))
    return Fields(b"".join(lines), length)


class ExpressCycle:
    """A request and its answer; for the connection it is a cycle like uvicorn's."""

    __slots__ = (
        "_connection",
        "_edge",
        "_headers",
        "_method",
        "_path",
        "_query",
        "_ride",
        "_waiting",
        "disconnected",
        "keep_alive",
        "response_complete",
        "response_started",
    )

    message_event = _Unheard()
    waiting_for_100_continue = False

    def __init__(
        self, connection: HttpConnection, edge: Edge, method: str, path: bytes, query: bytes
    ) -> None:
        self._connection = connection
        self._edge = edge
        self._method = method
        self._path = path
        self._query = query
        self._headers = connection.headers
        self._ride: Ride | None = None
        self._waiting: Invocation | None = None
        """Until its turn comes."""
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    def board(self) -> bool:
        """Put the request in, now or in its turn; False when it has to go the long way."""
        boarded = self._edge.board(
            self._method, self._path, self._query, self._connection, self._on_news, self._on_turn
        )
        if isinstance(boarded, Invocation):
            self._waiting = boarded
        else:
            self._ride = boarded
        return boarded is not None

    def scope(self) -> dict[str, Any]:
        """The ASGI scope of the request."""
        return self._connection.make_scope(self._method, self._path, self._query, self._headers)

    def lose_client(self) -> None:
        """The client is gone."""
        if self.disconnected or self.response_complete:
            return
        self.disconnected = True
        if self._ride is not None:
            self._ride.lease.fail(ClientDisconnected())

    def _on_turn(self) -> None:
        """It is the turn of a request that had to wait for it."""
        invocation = self._waiting
        if invocation is None:
            raise RuntimeError("the turn of a request that did not wait")
        if self.disconnected:
            self._edge.forsake(invocation)
            return
        self._ride = self._edge.board_late(invocation, self._on_news)
        if self._ride is None:
            self._connection.go_on(self)

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
        if answer is None or self._method == "HEAD":
            return None
        head, size = answer
        answers = self._edge.answers
        fields = answers.fields(head)
        if fields is None or fields.length not in (None, size):
            return None
        invocation = ride.invocation
        invocation.status, invocation.bytes_out = head.status, size
        return b"%b%bcontent-length: %d\r\nwaypost-ray: %b\r\n\r\n%b" % (
            fields.lines,
            answers.own_lines(self._connection.server_state.default_headers),
            size,
            invocation.request.ray.encode(),
            ride.lease.take(),
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Go on in the corridor: the ASGI application of the cycle that takes this one's place."""
        if self._ride is not None:
            await self._edge.resume(self._ride, scope, receive, send)
        elif self._waiting is not None:
            await self._edge.serve_late(self._waiting, scope, receive, send)
