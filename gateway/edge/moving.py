"""Connections that go from one process of a node to another, between two answers.

Until the request whose turn it is has been put into an instance, what was read since its first byte
is kept. If another process is to serve it, that gets the socket and these bytes, and goes on as if
it had accepted the connection itself: nothing passes through two processes. A request that cannot
take its connection along is sent as an errand.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.edge.connection import PIECE, HttpConnection
from gateway.edge.cycle import CarefulCycle
from gateway.edge.proxied import ProxiedConnection
from gateway.edge.proxy_header import Itself
from gateway.processes.cells import Cells
from gateway.processes.mailbox import MAX_BYTES, Moved

if TYPE_CHECKING:
    from gateway.model.http import HeaderList

MOVABLE: Final = "waypost.movable"
"""Key of the ASGI scope under which a connection stands that may be handed over, weakly."""
MAX_CUTS: Final = 8
"""Places in a chunked body that are taken for its end, at once: the rest of them may be content."""
_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Brought(NamedTuple):
    """What a connection comes with that another process had."""

    moved: Moved
    data: bytes
    """What was read from it and is not answered."""


class MovableConnection(HttpConnection):
    """A client's connection that another process may go on with."""

    has_proxy_header = False

    def __init__(
        self, *args: Any, cells: Cells | None = None, brought: Brought | None = None, **more: Any
    ) -> None:
        """``cells``: where processes tell how many connections they have."""
        super().__init__(*args, **more)
        self._cells = cells
        self._brought = brought
        self.moves = 0
        """How often the request at hand was handed on."""
        self._alone: bytes | None = None
        """A request that came whole and is the only one; None where ``_kept`` says more."""
        self._kept: list[bytearray] = []
        """What came of each request that is not answered, the oldest first."""
        self._lost_track = False
        """Where a request begins is not known, until all are answered."""
        self._given = False
        """Some of the oldest was given to an instance and is kept no more."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; one that was handed over goes on where it was."""
        super().connection_made(transport)
        if not self.has_proxy_header:
            self.settle_in()

    def settle_in(self) -> None:
        """Take up what the connection comes with."""
        brought, self._brought = self._brought, None
        if brought is None or self._corked.is_closing():
            return
        moved = brought.moved
        if moved.client is not None:
            self.client = Itself(*moved.client) if moved.itself else moved.client
        if moved.secure:
            self.scheme = "https"
        self.data_received(brought.data)
        self.moves = moved.moves

    @property
    def _are_too_many(self) -> bool:
        """A process may always have its part, and more while all together have not too many."""
        here, most, cells = len(self.connections), self._bounds.connections, self._cells
        if cells is None:
            return here > most
        share = -(-most // cells.processes)
        return here > share and max(here, cells.connections_of_all(here)) > most

    # What came, request by request

    def data_received(self, data: bytes) -> None:
        """Read what came, so that each request begins with a piece of its own."""
        cycle = self.cycle
        if (
            len(data) <= PIECE
            and (cycle is None or cycle.response_complete)
            and data.find(_END) == len(data) - len(_END)
            and not (self._in_head or self._in_body or self._backlog or self._lost_track)
        ):
            # One request and nothing else, as nearly always.
            self._alone, self.moves = data, 0
            super().data_received(data)
            self._lost_track = bool(self.pipeline)
            return
        self._read_parts(data)

    def _read_parts(self, data: bytes) -> None:
        in_pieces = self._backlog or (len(data) > self._piece and len(data) > self._left)
        if (in_pieces and not self._upgrading) or self._socket is not None:
            super().data_received(data)
            return
        size, start, cuts = len(data), 0, 0
        while start < size:
            end = self._end_of_part(data, start, cuts)
            cuts += self._in_body
            self._read_part(data if end - start == size else data[start:end])
            start = end

    def _end_of_part(self, data: bytes, start: int, cuts: int) -> int:
        """Where a request may end, as far as it shows."""
        size, mark = len(data), _END
        if self._in_body:
            if self._left > 0:
                return min(size, start + self._left)
            mark = _LAST_CHUNK
        if self._upgrading or self._deaf or cuts >= MAX_CUTS:
            return size
        end = data.find(mark, start)
        return size if end < 0 else end + len(mark)

    def _read_part(self, data: bytes) -> None:
        if self._alone is not None:
            self._kept, self._alone = [bytearray(self._alone)], None
        requests, between = self._requests, not (self._in_head or self._in_body or self._upgrading)
        alone = between and self._idle
        super().data_received(data)
        begun = self._requests - requests
        if alone:
            self._lost_track = begun > 1
            self._kept = [bytearray(data)] if begun else []
            self._given = False
            self.moves = 0
        elif self._lost_track or begun != between:
            # Nothing began with an empty line, or something did in the middle of this.
            self._lost_track = self._lost_track or begun > between
        elif between:
            self._kept.append(bytearray(data))
        else:
            self._keep(data)

    @property
    def _requests(self) -> int:
        """How many are not answered, one that is not complete included."""
        return len(self.pipeline) + (not self._idle) + self._in_head

    def _keep(self, data: bytes) -> None:
        """Keep more of the newest request, unless it is being served already."""
        running = self._running
        if len(self._kept) == 1 and isinstance(running, CarefulCycle) and running.begun:
            self._given = True
            self._kept[0].clear()
        elif self._kept:
            self._kept[-1] += data

    def on_response_complete(self) -> None:
        """An answer is complete: what it answers is kept no more."""
        if self._kept:
            del self._kept[0]
            self._given = False
            self.moves = 0
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        # Who is gone may be remembered for long: by tasks, and until cycles are collected.
        self._kept, self._alone = [], None
        super().connection_lost(exc)
        if self._cells is not None:
            self._cells.connections_of_all(len(self.connections))

    def make_scope(
        self,
        method: str,
        raw_path: bytes,
        query: bytes,
        headers: HeaderList,
        version: str = "1.1",
    ) -> dict[str, Any]:
        """The same, with a way to this connection."""
        scope = super().make_scope(method, raw_path, query, headers, version)
        scope[MOVABLE] = weakref.ref(self)
        return scope

    # Leaving

    async def pack(self, scope: dict[str, Any]) -> bytes | None:
        """Read no more, and return what was read of the request whose turn it is, and after it.

        None when that is not known. Where the connection stays after all, ``unpack`` is due.
        """
        running: Any = self._running
        if running is None or running.scope is not scope or running.response_started:
            return None
        self._flow.hold()
        self._corked.flush()
        # What is written of answers before is written by this process.
        self._corked.set_write_buffer_limits(0)
        while self._corked.get_write_buffer_size() and not self.is_gone:
            await self.flow.drain()
            await asyncio.sleep(0)
        if self._given or self._lost_track or self.is_gone:
            return None
        kept = self._kept if self._alone is None else [self._alone]
        if not kept:
            return None
        data = b"".join((*kept, self._backlog))
        return data if len(data) <= MAX_BYTES else None

    def unpack(self) -> None:
        """The connection stays."""
        if self.is_gone:
            return
        self._corked.set_write_buffer_limits()
        if not self._backlog:
            self._flow.release()

    def moved(self, size: int) -> Moved:
        """What is said of it, and of so many bytes, to the process that gets it."""
        peer = self.client
        client = (peer[0], peer[1]) if peer is not None else None
        secure, itself = self.scheme == "https", isinstance(peer, Itself)
        return Moved(client, itself, secure, self.moves + 1, size, None)

    @property
    def is_read(self) -> bool:
        """Some of the body of the request whose turn it is may have been read."""
        return isinstance(self._running, CarefulCycle) and self._running.begun

    @property
    def is_gone(self) -> bool:
        """The client is, or the connection is about to be closed."""
        running = self._running
        return self._corked.is_closing() or (running is not None and running.disconnected)

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        number: int = self._corked.get_extra_info("socket").fileno()
        return number

    def leave(self) -> None:
        """Let go of a connection that another process has now."""
        self._give_up()
        self._deaf = True
        self._kept, self._alone = [], None
        self._corked.abort()


class ProxiedMovableConnection(ProxiedConnection, MovableConnection):
    """The same, from a trusted proxy: what its header said goes along with the connection."""

    has_proxy_header = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; the header of one that was handed over has been read."""
        super().connection_made(transport)
        if self._brought is not None:
            self._header = None
            self.settle_in()
