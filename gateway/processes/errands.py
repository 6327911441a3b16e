"""What one process of a node asks another to do: serve a request, or call what is due.

Subrequests to the node's own hostnames have no connection that could be handed over, and schedules
have no client. So they are told in frames over a socket pair, whose other end is posted to the
process that is to serve them: an ASGI exchange, cut short by the end of the socket on either side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from gateway.bindings.hops import SCOPE_KEY
from gateway.model.http import HeaderList
from gateway.model.invocation import Invocation
from gateway.model.schedule import Scheduled
from gateway.processes import frames
from gateway.processes.mailbox import Errand, Mailboxes

logger = logging.getLogger(__name__)

App = Callable[[dict[str, Any], Callable[[], Any], Callable[[Any], Any]], Awaitable[None]]
Call = Callable[[Scheduled, str], Awaitable[Invocation]]
"""Calls what is due, under a ray."""

MOVES: Final = "waypost.moves"
"""Key of the ASGI scope under which stands how often a request was passed on."""
ITSELF: Final = "waypost.itself"
"""Key of the ASGI scope of an errand under which stands whether ``mailbox.Moved.itself``."""
PIECE: Final = 64 * 1024
"""Bytes of a body in one frame."""
POST_SECONDS: Final = 5.0
"""How long there may be no room in the box of a process."""


class Asked(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A request, as ASGI has it; its body follows in pieces."""

    method: str
    version: str
    scheme: str
    path: bytes
    query: bytes
    headers: HeaderList
    client: tuple[str, int] | None
    itself: bool
    """As of ``mailbox.Moved``."""
    hops: int | None
    moves: int


class Called(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A schedule is due."""

    scheduled: Scheduled
    ray: str


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The head of the answer to a request; its body follows in pieces."""

    status: int
    headers: HeaderList


class Piece(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Bytes of a body."""

    data: bytes
    more: bool


class Over(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """How a call went, written by ``frames.invocation_written``."""

    invocation: bytes


_to_do: Final = msgspec.msgpack.Decoder(Asked | Called | Piece)
_done: Final = msgspec.msgpack.Decoder(Answered | Piece | Over)


class Line:
    """One end of a socket over which an errand is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, sock: socket.socket) -> Line:
        """The line on a socket, which it closes."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    async def say(self, frame: msgspec.Struct) -> None:
        """Send a frame; returns when there is room for the next. Nobody may hear it."""
        self._writer.write(frames.written(frame))
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def say_body(self, message: dict[str, Any]) -> None:
        """Send the bytes of an ASGI message, a piece at a time."""
        body, more = message.get("body", b""), message.get("more_body", False)
        for start in range(0, max(1, len(body)), PIECE):
            last = start + PIECE >= len(body)
            await self.say(Piece(bytes(body[start : start + PIECE]), more or not last))

    async def hear(self, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
        """The next frame; None when the other end is gone, or not to be understood."""
        try:
            return await frames.read(self._reader, decoder)
        except frames.BadFrame as error:
            logger.error("an errand is not understood", extra={"error": str(error)})
            return None

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Errands:
    """Sends errands to other processes."""

    def __init__(self, boxes: Mailboxes) -> None:
        self._boxes = boxes

    @contextlib.asynccontextmanager
    async def _line(self, place: int) -> AsyncIterator[Line | None]:
        """A line to another process; None when it takes nothing."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        line = await Line.on(ours)
        try:
            with theirs:
                posted = await self._post(place, theirs)
            yield line if posted else None
        finally:
            line.close()

    async def _post(self, place: int, theirs: socket.socket) -> bool:
        try:
            async with asyncio.timeout(POST_SECONDS):
                while not self._boxes.post(place, Errand(), [theirs.fileno()]):
                    await self._boxes.room(place)
        except TimeoutError:
            return False
        return True

    async def call(self, place: int, scheduled: Scheduled, ray: str) -> Invocation | None:
        """Have what is due called there; how it went, None when nobody can say."""
        async with self._line(place) as line:
            if line is None:
                return None
            await line.say(Called(scheduled, ray))
            over = await line.hear(_done)
            return frames.invocation_read(over.invocation) if isinstance(over, Over) else None

    async def ask(
        self, place: int, scope: dict[str, Any], receive: Any, send: Any, *, itself: bool
    ) -> bool | None:
        """Have a request served there; False when it was not, and nothing was sent of an answer.

        None when nothing was read of the request either.
        """
        async with self._line(place) as line:
            if line is None:
                return None
            await line.say(_asked(scope, itself=itself))
            body = asyncio.create_task(_carry_in(line, receive))
            try:
                # Who is gone needs no answer: done, too.
                return await _carry_out(line, send) or body.done()
            finally:
                body.cancel()


def _asked(scope: dict[str, Any], *, itself: bool) -> Asked:
    return Asked(
        scope["method"],
        scope["http_version"],
        scope["scheme"],
        scope["raw_path"],
        scope["query_string"],
        scope["headers"],
        scope["client"],
        itself,
        scope.get(SCOPE_KEY),
        scope.get(MOVES, 0) + 1,
    )


async def _carry_in(line: Line, receive: Any) -> None:
    """The request's body; then hang up when who asked is gone."""
    while (message := await receive())["type"] != "http.disconnect":
        await line.say_body(message)
    line.close()


async def _carry_out(line: Line, send: Any) -> bool:
    head = await line.hear(_done)
    if not isinstance(head, Answered):
        return False
    await send({"type": "http.response.start", "status": head.status, "headers": head.headers})
    while isinstance(piece := await line.hear(_done), Piece):
        await send({"type": "http.response.body", "body": piece.data, "more_body": piece.more})
        if not piece.more:
            break
    return True


async def run_errand(sock: socket.socket, app: App, call: Call) -> None:
    """Do what is asked over a socket that came through the box."""
    line = await Line.on(sock)
    try:
        match await line.hear(_to_do):
            case Asked() as asked:
                exchange = _Exchange(line)
                await app(_scope(asked), exchange.receive, exchange.send)
            case Called() as called:
                invocation = await call(called.scheduled, called.ray)
                await line.say(Over(frames.invocation_written(invocation)))
    finally:
        line.close()


class _Exchange:
    """ASGI's two ways, over a line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body, or that the other end hung up."""
        piece = await self._line.hear(_to_do)
        if not isinstance(piece, Piece):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece.data, "more_body": piece.more}

    async def send(self, message: dict[str, Any]) -> None:
        """Say a part of the answer."""
        if message["type"] == "http.response.start":
            await self._line.say(Answered(message["status"], message["headers"]))
            return
        await self._line.say_body(message)


def _scope(asked: Asked) -> dict[str, Any]:
    path = asked.path.decode("latin-1")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": asked.version,
        "method": asked.method,
        "scheme": asked.scheme,
        "path": unquote(path),
        "raw_path": asked.path,
        "query_string": asked.query,
        "root_path": "",
        "headers": asked.headers,
        "client": asked.client,
        "server": None,
        ITSELF: asked.itself,
        SCOPE_KEY: asked.hops,
        MOVES: asked.moves,
    }
