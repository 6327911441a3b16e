"""The fuzz target: any bytes at all, as an instance may write them, into a real channel.

``tests/fuzz/guided.py`` looks for inputs that break it; those it found are kept in ``corpus/``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.errors import TenantFailed
from gateway.model.http import Request
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.pool.channel import MAX_UNREAD, MAX_UNREAD_EACH, Channel
from gateway.pool.exchange import Exchange
from gateway.pool.logroom import LOG_BYTES, LOG_PARTS
from gateway.pool.subrequests import WireSubrequests
from sandbox import ProtocolError, payloads, protocol
from sandbox.payloads import Close, ExceptionRecord, FetchedHead, FetchHead, LogRecord, ResponseHead
from sandbox.protocol import FrameType

CORPUS = Path(__file__).parent / "corpus"
ROUTE = Route(
    key=ScriptKey("production", "acme"),
    tenant="acme",
    version_id="v",
    plan="free",
    limits=Limits(subrequests=4),
    status=TenantStatus.ACTIVE,
)
SLACK = 64 * 1024


def request(*, websocket: bool = False) -> Request:
    """A request of a client's."""
    return Request(
        ray="r",
        method="GET",
        scheme="http",
        host="h",
        authority="h",
        path=b"/",
        query=b"",
        headers=[],
        client=None,
        accept="",
        websocket=websocket,
    )


class Unread(asyncio.Transport):
    """A socket whose other end never reads."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.aborted = False
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.size += len(data)

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.aborted = True


class Echo:
    """An origin that answers with the body it was sent."""

    head = FetchedHead(200, "OK", [], "http://origin/", False)

    def __init__(self, body: AsyncIterator[bytes] | None) -> None:
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._body is not None:
            async for chunk in self._body:
                yield chunk

    async def close(self) -> None:
        """Nothing is held."""


class Origin:
    """Performs subrequests."""

    async def fetch(
        self, head: FetchHead, body: AsyncIterator[bytes] | None, *, hops: int, tenant: str
    ) -> Echo:
        return Echo(body)


class Target:
    """A channel with a request, a WebSocket, one that is over, and one the peer has no name for."""

    def __init__(self) -> None:
        self.ends: list[ProtocolError | None] = []
        self.channel = Channel(
            on_ready=self._on_ready,
            on_broken=self.ends.append,
            on_exception=lambda exchange, _: exchange.fail(TenantFailed("raised")),
            cpu_ns=lambda: 0,
        )
        self.transport = Unread()
        self.channel.connection_made(self.transport)
        self.channel.subrequests = WireSubrequests(self.channel, Origin())
        self.plain = self.channel.open(request(), ROUTE)
        self.socket = self.channel.open(request(websocket=True), ROUTE)
        over = self.channel.open(request(), ROUTE)
        self.channel.forget(over)

    def _on_ready(self, _: object) -> None:
        raise ProtocolError("the script was reported loaded twice")

    async def hear(self, data: bytes, step: int) -> None:
        """Take bytes in pieces; nothing but a named end may come of it."""
        for start in range(0, len(data), step):
            self.channel.data_received(data[start : start + step])
            await asyncio.sleep(0)
            self.check()
            while not (self.transport.reading or self.channel.closed):
                await asyncio.sleep(0)
                self.check()

    def check(self) -> None:
        """What holds whatever the peer wrote."""
        channel = self.channel
        assert len(self.ends) == channel.closed
        assert not channel.closed or str(self.ends[0])
        if channel.closed:
            return
        assert channel._decoder.buffered <= protocol.HEADER_SIZE + protocol.MAX_METADATA
        assert self.transport.size <= MAX_UNREAD + 3 * MAX_UNREAD_EACH + SLACK
        for exchange in (self.plain, self.socket):
            check_exchange(exchange)

    async def close(self) -> None:
        """End it, and what it has under way."""
        self.channel.close()
        ours = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not ours]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=5)
            assert not pending, "a subrequest outlived its instance"


def check_exchange(exchange: Exchange) -> None:
    """The bounds of what is held for one request."""
    assert 0 <= exchange._unacked <= protocol.WINDOW
    if exchange.held is not None:
        assert 0 <= exchange.held.size <= LOG_BYTES + protocol.MAX_METADATA
        assert 0 <= exchange.held.parts <= LOG_PARTS + 1
    assert exchange.send_credit <= protocol.WINDOW


async def hear(data: bytes) -> list[ProtocolError | None]:
    """Play one input; how the channel ended, if it did. The first byte says how it is cut."""
    target = Target()
    try:
        await target.hear(data[1:], max(1, len(data) >> 3) if data[:1] > b"\x7f" else 1 << 20)
    finally:
        await target.close()
    return target.ends


def seeds() -> dict[str, bytes]:
    """Inputs that reach each kind of frame, by name."""
    plain, socket = 2, 4
    struct, encode = payloads.encode_struct, protocol.encode
    head = struct(FrameType.RESPONSE, plain, ResponseHead(200, [(b"a", b"b")]))
    end = protocol.END
    fetch = struct(FrameType.FETCH, 1, FetchHead(plain, "POST", "http://o/", [(b"a", b"b")]))
    accepted = struct(FrameType.RESPONSE, socket, ResponseHead(101, []))
    log = LogRecord("log", 1, ["x", {"a": [1, None, 1.5, True]}])
    raised = ExceptionRecord("exception", "E", "m", "s", 1)
    return {
        "answer": head
        + encode(FrameType.BODY, plain, b"body", end)
        + encode(FrameType.DONE, plain),
        "whole_answer": protocol.encode_answer(
            plain, payloads.encode_metadata(ResponseHead(200, [(b"a", b"b")])), b"body"
        ),
        "log": struct(FrameType.LOG, plain, log) + struct(FrameType.LOG, 0, log),
        "exception": struct(FrameType.EXCEPTION, plain, raised) + encode(FrameType.DONE, plain),
        "fetch": fetch + encode(FrameType.BODY, 1, b"x") + encode(FrameType.BODY, 1, b"", end),
        "cancel": fetch + encode(FrameType.CANCEL, 1) + fetch,
        "socket": accepted
        + encode(FrameType.TEXT, socket, b"hello", end)
        + encode(FrameType.BINARY, socket, b"\xff")
        + encode(FrameType.BINARY, socket, b"\xff", end)
        + struct(FrameType.CLOSE, socket, Close(1000, "bye")),
        "over": encode(FrameType.BODY, 6, b"late", end) + encode(FrameType.DONE, 6),
        "credit": protocol.encode_credit(plain, 1) + protocol.encode_credit(socket, 0),
        "key_that_is_a_list": encode(
            FrameType.LOG, plain, b"\x93\xa3log\x00\x91\x81\x92\x01\x02\xc0"
        ),
        "fields": encode(
            FrameType.RESPONSE, plain, b"\x92\xcc\xc8\xdd\x00\x00\xff\xff" + b"\x92\xc4\x00\xc4\x00"
        ),
    }
