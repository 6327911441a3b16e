"""Servers in one process that hand each other connections, as those of a node's processes do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
import uvloop

from gateway.config import Http
from gateway.edge.cycle import UPGRADE, send_plain, with_refusals
from gateway.edge.departures import Departures, as_came
from gateway.edge.moving import Brought
from gateway.edge.proxy_header import Itself
from gateway.edge.server import Server
from gateway.errors import LoadShed
from gateway.processes.errands import Errands, run_errand
from gateway.processes.mailbox import Mail, Mailboxes, Moved

PLACES = 3
LARGE = 16 << 20
"""Bytes that no socket takes at once."""


class Place:
    """What is a process of a node elsewhere: it serves the hosts that begin with its number."""

    def __init__(self, boxes: Mailboxes, number: int, sock: socket.socket, kind: Any) -> None:
        self.number = number
        self.how: list[str] = []
        self.departures = Departures(
            boxes, Errands(boxes), takes=lambda _: True, count=self.how.append
        )
        self.moves = 0
        self.errands = 0
        self._boxes = boxes
        self._sock = sock
        made = partial(kind, bounds=Http())
        config = uvicorn.Config(
            with_refusals(self._serve),
            http=made,  # type: ignore[arg-type]
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
        )
        self.server = Server(config)

    async def run(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.server.serve(sockets=[self._sock]))
        await self.server.up.wait()
        self._boxes.listen(self._take)
        return task

    def _take(self, mail: Mail, sock: socket.socket, data: bytes) -> None:
        if isinstance(mail, Moved):
            self.moves += 1
            self.server.take_over(sock, Brought(mail, data))
        else:
            self.errands += 1
            self.server.keep(run_errand(sock, self._serve_errand, _never))

    async def _serve_errand(self, scope: Any, receive: Any, send: Any) -> None:
        await self._serve(as_came(scope), receive, send)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        host = next(value for name, value in scope["headers"] if name == b"host")
        belongs = int(host[:1])
        if belongs != self.number:
            if not await self.departures.send(belongs, scope, receive, send):
                await send_plain(LoadShed("It did not go."), send)
            return
        if UPGRADE in scope:
            scope[UPGRADE].open_socket(b"HTTP/1.1 101 by %d\r\n\r\n" % self.number, 1 << 20)
            return
        if scope["raw_path"] == b"/large":
            await _send(send, bytes(LARGE))
            return
        digest, size, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        said = json.dumps(
            {
                "by": self.number,
                "client": scope["client"],
                "itself": isinstance(scope["client"], Itself),
                "scheme": scope["scheme"],
                "target": scope["raw_path"].decode(),
                "size": size,
                "digest": digest.hexdigest(),
            }
        ).encode()
        await _send(send, said)


async def _send(send: Any, body: bytes) -> None:
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


async def _never(*_: Any) -> Any:
    raise AssertionError("nothing is called")


class Places:
    """Some that run in a thread."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.all: list[Place] = []
        self.ports: list[int] = []
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(60)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        leader = Mailboxes.create(PLACES)
        boxes = [leader, *(_inherited(leader, number) for number in range(1, PLACES))]
        socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(PLACES)]
        for sock in socks:
            sock.setblocking(False)
        self.ports = [sock.getsockname()[1] for sock in socks]
        self.all = [Place(boxes[n], n, socks[n], self._kind) for n in range(PLACES)]
        tasks = [await place.run() for place in self.all]
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._up.set()
        await self._over.wait()
        for place in self.all:
            place.server.should_exit = True
        await asyncio.gather(*tasks)
        for box in boxes:
            box.close()
        for sock in socks:
            sock.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def moves(self) -> int:
        return sum(place.moves for place in self.all)

    @property
    def errands(self) -> int:
        return sum(place.errands for place in self.all)


def _inherited(leader: Mailboxes, number: int) -> Mailboxes:
    own, *ways = (socket.socket(fileno=os.dup(one)) for one in leader.descriptors(number))
    return Mailboxes(number, [own], ways)


@contextmanager
def places(kind: Any) -> Iterator[Places]:
    running = Places(kind)
    try:
        yield running
    finally:
        running.stop()
