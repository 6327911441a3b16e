"""HTTP/1.1 from a connection, as hostile clients and picky proxies send it.

The parser (llhttp) refuses most of what is not HTTP. Here is what it leaves open: bounds on bytes,
framing that two servers may read in two ways, and answers in order and with a reason.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.config import Http
from gateway.edge.bounds import BoundedProtocol
from gateway.edge.cycle import REFUSAL, UPGRADE, CarefulCycle
from gateway.edge.express import ExpressCycle
from gateway.edge.handshake import asks_for_websocket
from gateway.edge.head import LastHead
from gateway.edge.headers import asks_to_stay
from gateway.edge.patience import MAX_AHEAD
from gateway.edge.target import MAX_URL, check_framing, parse_target, same_authority
from gateway.edge.websocket import ClientSocket
from gateway.errors import BadRequest, Refusal

if TYPE_CHECKING:
    from gateway.edge.asgi import Edge
    from gateway.model.http import HeaderList

PIECE: Final = 2048
"""Bytes looked at at once where they may be many requests."""
CHUNKED_PIECE: Final = 16 * 1024
"""The same where they may be the end of a body."""

MAX_EARLY: Final = 64 * 1024
"""Bytes that may come before a WebSocket's handshake is answered."""

_CONTENT_LENGTH: Final = b"content-length"
_TRANSFER_ENCODING: Final = b"transfer-encoding"
_CAREFUL: Final = frozenset({_CONTENT_LENGTH, _TRANSFER_ENCODING, b"expect"})
_PLAIN: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpConnection(BoundedProtocol):
    """One client's connection. Answers leave in the order of their requests."""

    retiring = False
    """The next answer is the last of this connection."""

    def __init__(
        self,
        *args: Any,
        bounds: Http,
        ping_seconds: float = 30.0,
        express: Edge | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, bounds=bounds, **more)
        self._express = express
        """Who takes requests in without a task; None: nobody."""
        self.last_head = LastHead()
        self._ping_seconds = ping_seconds
        self._upgrading = False
        """The newest request may become a WebSocket; what follows it is none of HTTP's."""
        self._taken = True
        """The last head that was read has been served; none, or another, is at hand."""
        self._named = False
        """The head at hand has a method, whatever else it lacks."""
        self._early = b""
        self._socket: ClientSocket | None = None
        self._stopping = False
        self._careful: dict[bytes, bytes] = {}
        """Fields of the head at hand that say how its body is framed."""
        self._piece = PIECE
        self._left = 0
        """Bytes of the body at hand that have not come, where it says how many it has."""

    # Bytes in

    def data_received(self, data: bytes) -> None:
        """Read what came; bound what is not complete."""
        if self._deaf or self._upgrading:
            self._read_no_http(data)
            return
        if self._backlog or (len(data) > self._piece and len(data) > self._left):
            self._read_in_pieces(data)
            return
        in_body = self._in_body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._go_on_after_upgrade(data[pause.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse_bytes(error)
        if self._deaf:
            return
        if self._in_body:
            self._bound_body(data, len(data) if in_body else 0)
        elif not in_body:
            cycle = self.cycle
            if self._in_head or cycle is None or cycle.response_complete:
                self._bound_head(len(data))

    def _read_no_http(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.feed(data)
        elif not self._deaf:
            self._keep_early(data)

    def _read_in_pieces(self, data: bytes) -> None:
        """Look at what may be many requests, until too many wait for their turn."""
        data, self._backlog = self._backlog + data, b""
        self._corked.unread = self._in_body
        at = 0
        while at < len(data):
            if len(self.pipeline) >= MAX_AHEAD:
                self._backlog = data[at:]
                self._corked.unread = True
                self._flow.hold()
                return
            end = at + max(self._piece, self._left)
            self.data_received(data[at:end])
            at = end
        self._flow.release()

    def _read_backlog(self) -> None:
        if self._backlog:
            self._read_in_pieces(b"")

    def _go_on_after_upgrade(self, data: bytes) -> None:
        while not self._upgrading:
            self._ignore_upgrade()
            if not data:
                return
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as pause:
                data = data[pause.args[0] :]
            except httptools.HttpParserError as error:
                self._refuse_bytes(error)
                return
        self._keep_early(data)

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1, as a server may that knows no other protocol (RFC 9110 §7.8).

        The parser takes what follows such a head for the other protocol. Where it is a body, a new
        parser is told of that.
        """
        framing = [b"%s: %s\r\n" % field for field in self._careful.items()]
        if self._deaf or not self._in_body:
            return
        self._deaf = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing))
        self._deaf = False

    # WebSockets

    def _may_upgrade(self, method: str, version: str) -> bool:
        plain = method == "GET" and version == "1.1" and not self._in_body
        return plain and asks_for_websocket(self.headers)

    def _keep_early(self, data: bytes) -> None:
        """Hold what comes before the handshake is answered; nothing should."""
        self._early += data
        self._corked.unread = bool(self._early)
        if len(self._early) > MAX_EARLY:
            self.flow.pause_reading()

    def open_socket(self, head: bytes, max_message: int, *, masked: bool = True) -> ClientSocket:
        """Answer the handshake, and speak WebSocket from here on."""
        # Nothing more is sent by the request's cycle, and nothing to it.
        self.cycle.response_started = self.cycle.response_complete = True
        self._stop_waiting()
        self._corked.unread = False
        socket = self._socket = ClientSocket(
            self._corked,
            self.flow,
            max_message=max_message,
            ping_seconds=self._ping_seconds,
            masked=masked,
        )
        if self._corked.is_closing():
            socket.lost()
            return socket
        self._corked.write(head)
        early, self._early = self._early, b""
        socket.feed(early)
        if self._stopping or self.retiring:
            socket.going_away()
        return socket

    def retire(self) -> None:
        """Another node takes over: the next answer is the last, and an open WebSocket moves."""
        self.retiring = True
        if self._socket is not None:
            self._socket.going_away()

    def shutdown(self) -> None:
        """The node stops: what is open is closed in order."""
        self._stopping = True
        if self._socket is not None:
            self._socket.going_away()
        else:
            super().shutdown()

    def give_way(self) -> bool:
        """Close for the sake of others; an open WebSocket does not."""
        return self._socket is None and super().give_way()

    def _let_go(self) -> None:
        self._bulky = False
        self.url, self.headers, self._careful = b"", [], {}
        self.last_head = LastHead()
        self.cycle = self._running = cast("Any", None)

    def _give_up(self) -> None:
        running: Any = self._running
        if isinstance(running, ExpressCycle):
            running.lose_client()
        super()._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        if self._socket is not None:
            self._socket.lost()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._socket is not None:
            self._socket.writable()

    # What the parser found

    def on_message_begin(self) -> None:
        """A request line begins."""
        if not self._deaf:
            self._begin_head()

    def _begin_head(self) -> None:
        self.url = b""
        self.headers = []
        self._taken = False
        self._in_head = True
        self._careful = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. Trailers are dropped: merged, they could pose as headers."""
        if not self._in_head:
            self._look_at_trailer(name)
            return
        name, value = name.lower(), value.rstrip(b" \t")
        if name in _CAREFUL:
            known = self._careful.get(name)
            self._careful[name] = value if known is None else known + b", " + value
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self._deaf:
            return
        self._in_head = False
        if self._head_bytes:
            self._end_head()
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        parser, url = self.parser, self.url
        version, method = parser.get_http_version(), parser.get_method().decode("ascii")
        path, _, query = url.partition(b"?")
        plain = not self._careful and version == "1.1" and method in _PLAIN
        if not (plain and url.startswith(b"/")) or b"#" in url:
            try:
                path, query = self._check(method, version)
            except Refusal as refusal:
                self._reject(refusal, version)
                return
        if parser.should_upgrade() and self._may_upgrade(method, version):
            self._upgrading = True
            scope = self.make_scope(method, path, query, self.headers)
            scope[UPGRADE] = self
            self._begin(scope, keep_alive=False)
        elif not (plain and self._board(method, path, query)):
            scope = self.make_scope(method, path, query, self.headers, version)
            self._begin(scope, keep_alive=True)

    def _check(self, method: str, version: str) -> tuple[bytes, bytes]:
        """Look closely at a head that is not of the usual kind; its path and query."""
        careful = self._careful
        check_framing(
            method, version, careful.get(_TRANSFER_ENCODING), careful.get(_CONTENT_LENGTH)
        )
        target = parse_target(self.url)
        if target.authority:
            hosts = [value for name, value in self.headers if name == b"host"]
            if not hosts and version == "1.0":
                self.headers.append((b"host", target.authority))
            elif not all(same_authority(target.authority, host) for host in hosts):
                raise BadRequest("The request target and the Host header name different hosts.")
        if careful.get(_CONTENT_LENGTH, b"").strip(b"0") or _TRANSFER_ENCODING in careful:
            self._in_body = self._corked.unread = True
            self._left = int(careful.get(_CONTENT_LENGTH, b"0"))
            self._piece = PIECE if self._left else CHUNKED_PIECE
            self._begin_body(chunked=not self._left)
        return target.path, target.query

    def make_scope(
        self,
        method: str,
        raw_path: bytes,
        query: bytes,
        headers: HeaderList,
        version: str = "1.1",
    ) -> dict[str, Any]:
        """The ASGI scope of a request on this connection."""
        path = raw_path.decode("latin-1")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "state": {},
        }

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        if self._deaf:
            return
        self._left -= len(body)
        self._count_body(len(body))
        cycle: Any = self.cycle
        if cycle.body:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
        elif not cycle.response_complete:
            # What is alone is not copied, into what collects it and out of that again.
            cycle.body, body = body, b""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if isinstance(self.cycle, ExpressCycle):
            return
        if self._deaf or (self._in_body and self.parser.should_upgrade()):
            return
        if self._in_body:
            self._in_body = self._corked.unread = False
            self._piece, self._left = PIECE, 0
        super().on_message_complete()

    # Answers

    def _board(self, method: str, path: bytes, query: bytes) -> bool:
        """Have a plain request taken in without a task, if it is its turn and need not wait."""
        before, edge = self.cycle, self._express
        if edge is None or self.retiring or not self.parser.should_keep_alive():
            return False
        if before is not None and not before.response_complete:
            return False
        express = ExpressCycle(self, edge, method, path, query)
        if not express.board():
            return False
        turn: Any = express  # for uvicorn it is a cycle like its own
        self.cycle = self._running = turn
        self._taken = True
        return True

    def _begin(self, scope: dict[str, Any], *, keep_alive: bool) -> None:
        """Give a request its turn, after those before it."""
        self._taken = True
        stay = keep_alive and not self.retiring
        plain = stay and not self._careful and scope["http_version"] == "1.1"
        kind = RequestResponseCycle if plain else CarefulCycle
        before = self.cycle
        free = before is None or before.response_complete
        keep = stay and self.parser.should_keep_alive()
        if scope["http_version"] == "1.0":
            keep = keep and asks_to_stay(self.headers)
        self.cycle = kind(
            scope=cast("Any", scope),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self._in_body
            and keep_alive
            and scope["http_version"] != "1.0"
            and self._careful.get(b"expect", b"").lower() == b"100-continue",
            keep_alive=keep,
            on_response=self.on_response_complete,
        )
        if free:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def answer(self, data: bytes) -> None:
        """Write the whole answer of the request whose turn it is."""
        self._corked.write_whole(data)
        self.on_response_complete()

    def go_on(self, express: ExpressCycle) -> None:
        """Give a request that was put in already a cycle and a task."""
        cycle = RequestResponseCycle(
            scope=cast("Any", express.scope()),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=express.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        cycle.disconnected = express.disconnected
        if cast("Any", self.cycle) is express:
            self.cycle = cycle
        self._start_asgi_task(cycle, express)

    def _refuse(self, refusal: Refusal) -> None:
        """Stop reading, and say why in the place of the answer to what was being read."""
        if not self._in_body:
            self._reject(refusal, "1.1")
            return
        self._deaf = self._corked.unread = True
        cycle = self.cycle
        if cycle.response_complete or not isinstance(cycle, CarefulCycle):
            self._corked.close()
            return
        cast("dict[str, Any]", cycle.scope)[REFUSAL] = refusal
        cycle.broken = True
        cycle.keep_alive = False
        cycle.message_event.set()

    def _refuse_bytes(self, error: httptools.HttpParserError) -> None:
        """Refuse what the parser cannot read."""
        # Of a target that is none the parser tells nothing; the method before it was one.
        self._named = isinstance(error, httptools.HttpParserInvalidURLError)
        self._refuse(BadRequest(f"This is not HTTP/1.1: {error}."))

    def _reject(self, refusal: Refusal, version: str) -> None:
        """Answer a head that cannot be served, and read nothing after it."""
        if self._taken:
            self._begin_head()
        self._in_head = False
        self._end_head()
        self._deaf = self._corked.unread = True
        named = self.url or self._named
        method = self.parser.get_method().decode("ascii") if named else "-"
        path = self.url.partition(b"?")[0][:MAX_URL] or b"/"
        version = "1.0" if version == "1.0" else "1.1"
        scope = self.make_scope(method, path, b"", self.headers, version)
        scope[REFUSAL] = refusal
        self._begin(scope, keep_alive=False)
