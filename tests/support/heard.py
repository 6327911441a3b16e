"""A connection in memory: bytes go in as they are cut, and what comes of them is noted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from functools import partial
from typing import Any, NamedTuple

import uvicorn
import uvloop
from uvicorn.server import ServerState

from gateway.config import Http
from gateway.edge.connection import HttpConnection
from gateway.edge.cycle import REFUSAL, send_plain, with_refusals
from tests.support.strict import Asked


class Memory(asyncio.Transport):
    """A client that has read all, and may send more."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """What is there has come already."""

    def resume_reading(self) -> None:
        """As above."""


class Seen(NamedTuple):
    """What a connection's bytes came to."""

    served: list[Asked]
    statuses: list[int]
    ended: bool


class Listener:
    """Real connections, in front of an application that notes what reaches it whole."""

    def __init__(self) -> None:
        self._served: list[Asked] = []
        self._config = uvicorn.Config(with_refusals(self._serve), lifespan="off", log_config=None)
        self._config.load()
        self._make = partial(HttpConnection, bounds=Http(), express=None)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                if REFUSAL in scope:
                    await send_plain(scope[REFUSAL], send)
                return
            body += message["body"]
            more = message["more_body"]
        target = scope["raw_path"] + b"?" * bool(scope["query_string"]) + scope["query_string"]
        self._served.append(Asked(scope["method"].encode(), target, body))
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def hear(self, pieces: list[bytes]) -> Seen:
        """Have a new connection receive pieces, each once all that the last one caused is done."""
        self._served = []
        state, client = ServerState(), Memory()
        connection = self._make(config=self._config, server_state=state, app_state={})
        connection.connection_made(client)
        for piece in pieces:
            if not client.ended:
                connection.data_received(piece)
                await _settled(client, self._served)
        seen = Seen(self._served, _statuses(client.written), client.ended)
        connection.connection_lost(None)
        for task in list(state.tasks):
            await task
        return seen


async def _settled(client: Memory, served: list[Asked]) -> None:
    before, quiet = (0, 0), 0
    while quiet < 8:
        await asyncio.sleep(0)
        now = len(client.written), len(served)
        quiet, before = (quiet + 1 if now == before else 0), now


def _statuses(written: bytes) -> list[int]:
    found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", written)]
    return [status for status in found if status != 100]


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run on a loop as a node has it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
