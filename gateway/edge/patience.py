"""How long a connection waits for its client, and what becomes of one that is too slow or gone."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.config import Http
from gateway.edge.cork import CorkedTransport, HeldFlow
from gateway.edge.crowd import crowd_of
from gateway.errors import Refusal, RequestTimeout

HALF_CLOSED_SECONDS: Final = 1.0
"""How long a client that has closed its sending half is taken to be there while nothing moves."""
MAX_AHEAD: Final = 32
"""Requests of a connection that may wait for their turn before it is not read any further."""
DRAIN_SECONDS: Final = 10.0
"""How long the rest of a body is read and dropped once its request is answered."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with an end to each wait. What is read is the subclass's business."""

    def __init__(self, *args: Any, bounds: Http, **more: Any) -> None:
        super().__init__(*args, **more)
        self.timeout_keep_alive = cast("int", bounds.idle_seconds)
        self._bounds = bounds
        self._corked: CorkedTransport
        self._in_head = False
        self._in_body = False
        self._deaf = False
        """Nothing more is read: what comes has been refused already."""
        self._head_deadline: asyncio.TimerHandle | None = None
        self._body_deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None
        self._body_moved = False
        self._bulky = False
        """A large head was read; who is answered may stay, what it sent need not."""
        self._idle_since = 0.0
        self._flow: HeldFlow
        self._backlog = b""
        """What has come and is not looked at before answers have left."""
        self._crowd = crowd_of(self.server_state)
        self._counted_as = ""
        self._running: RequestResponseCycle | None = None
        """The request whose turn it is; those after it wait in the pipeline."""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many and nobody has more than this client."""
        self._corked = CorkedTransport(
            transport, self.loop, self._bounds.stall_seconds, self._hear_no_more
        )
        super().connection_made(cast("asyncio.Transport", self._corked))
        self.flow = self._flow = HeldFlow(cast("asyncio.Transport", self._corked))
        self._counted_as = self._crowd.join(self.client[0] if self.client else "", self)
        if self._are_too_many and not self._crowd.make_room(self._counted_as, self.loop.time()):
            transport.abort()
            return
        self._await_head()

    @property
    def _are_too_many(self) -> bool:
        """With this one there are more connections than there may be."""
        return len(self.connections) > self._bounds.connections

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and with it all that it asked for."""
        self._crowd.leave(self._counted_as, self)
        self._give_up()
        super().connection_lost(exc)
        self._stop_waiting()
        for deadline in (self._head_deadline, self._body_deadline, self._send_deadline):
            if deadline is not None:
                deadline.cancel()

    def _hear_no_more(self) -> None:
        """This end has said its last: what the client still sends is nothing to act on."""
        self._deaf = True
        self._give_up()

    def _give_up(self) -> None:
        """Nobody will get the answers to what was asked for."""
        self._backlog = b""
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in [self._running, *waiting]:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def give_way(self) -> bool:
        """Close for the sake of a client with fewer connections, if nothing is under way."""
        if not self._idle:
            return False
        self._corked.abort()
        return True

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. It may still read: a request that is whole gets a moment to be
        answered before the client counts as gone."""
        if self._idle or self._corked.is_closing() or (self._in_body and not self.pipeline):
            return False
        if self._in_body:
            # The newest is not whole, and will not be. Those before it are.
            torn, _ = self.pipeline.popleft()
            torn.disconnected = True
            self._in_body = self._corked.unread = False
            waiting = self.pipeline[0][0] if self.pipeline else self._running
            self.cycle = cast("RequestResponseCycle", waiting)
        self.cycle.keep_alive = False
        self._deaf = True
        self._await_answer()
        return True

    def pause_writing(self) -> None:
        """The client reads slower than the answer comes."""
        super().pause_writing()
        self._send_deadline = self.loop.call_later(self._bounds.stall_seconds, self._corked.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _idle(self) -> bool:
        cycle = self.cycle
        return cycle is None or cycle.response_complete

    def on_response_complete(self) -> None:
        """An answer is complete; what is left of its request is read for a while and dropped."""
        self.server_state.total_requests += 1
        if self._corked.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_next()
            if self._bulky and not self._in_head and not self._in_body:
                self._let_go()
        if self._backlog and len(self.pipeline) <= MAX_AHEAD // 2:
            self.loop.call_soon(self._read_backlog)
        if self._in_body and self.cycle.response_complete:
            self.loop.call_later(DRAIN_SECONDS, self._stop_draining, self.cycle)

    # Deadlines

    def _await_next(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer: setting one for each request costs more than looking once."""

    def _stop_waiting(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nothing came on for a while; the head of a request has its own
        deadline, and the end of an answer sets this one again."""
        self.timeout_keep_alive_task = None
        if not self._idle or self._in_head:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(self._bounds.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_deadline = None
        if self.flow.read_paused:
            # What is missing may have come: nobody has looked.
            self._await_head()
        elif self._in_head:
            seconds = self._bounds.head_seconds
            self._refuse(RequestTimeout(f"The head of a request may take {seconds:g} s."))
        elif self._idle:
            self._corked.close()

    def _await_body(self) -> None:
        self._body_moved = False
        self._body_deadline = self.loop.call_later(self._bounds.stall_seconds, self._body_is_late)

    def _body_is_late(self) -> None:
        self._body_deadline = None
        if not self._in_body or self._deaf:
            return
        asked = not self.cycle.waiting_for_100_continue
        if self._body_moved or self.flow.read_paused or not asked:
            self._await_body()
        else:
            seconds = self._bounds.stall_seconds
            self._refuse(RequestTimeout(f"No byte of the body came for {seconds:g} s."))

    def _stop_draining(self, cycle: RequestResponseCycle) -> None:
        if self._in_body and self.cycle is cycle:
            self._corked.close()

    def _await_answer(self) -> None:
        self._corked.moved = False
        self.loop.call_later(HALF_CLOSED_SECONDS, self._half_closed_is_late)

    def _half_closed_is_late(self) -> None:
        """A client that is gone for good shows at the next write; without one, only in time."""
        if self._corked.moved or self.flow.write_paused:
            self._await_answer()
        else:
            self._corked.close()

    def _refuse(self, refusal: Refusal) -> None:
        raise NotImplementedError

    def _read_backlog(self) -> None:
        raise NotImplementedError

    def _let_go(self) -> None:
        """Keep nothing of the requests that are answered."""
        raise NotImplementedError
