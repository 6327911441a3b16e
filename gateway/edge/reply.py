"""Replies on an ASGI connection: heads checked, bodies counted, error pages rendered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

from gateway.edge.cookies import SET_COOKIE, CookieRule
from gateway.edge.cycle import is_crowded, write_body_now
from gateway.edge.handshake import Offer, answer_head
from gateway.edge.headers import BODILESS, check_response
from gateway.edge.pages import render, response_headers
from gateway.errors import BadResponse, Refusal
from gateway.model.http import HeaderList, Reply, Request
from gateway.model.websocket import UNPACED, Pace, Socket


class Upgradable(Protocol):
    """The connection of a request that may become a WebSocket."""

    def open_socket(self, head: bytes, max_message: int, *, masked: bool = True) -> Socket:
        """Send the 101 and speak WebSocket from here on."""


class Handshake(NamedTuple):
    """What it takes to become a WebSocket."""

    connection: Upgradable
    offer: Offer


ROBOTS: Final = b"x-robots-tag"
RESET_CONTENT: Final = 205
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class AsgiReply:
    """Where one request's answer goes. The head is held back until the first body bytes, so that
    an answer that fails early can still become an error page."""

    __slots__ = (
        "_cookies",
        "_head",
        "_method",
        "_ray",
        "_receive",
        "_send",
        "_sent",
        "_undeclared",
        "handshake",
        "host",
        "pace",
        "started",
        "unlisted",
    )

    def __init__(
        self, send: Send, receive: Receive, method: str, ray: bytes, cookies: CookieRule
    ) -> None:
        self._send = send
        self._receive = receive
        self._method = method
        self._ray = ray
        self._cookies = cookies
        self.host = ""
        """The hostname that was asked, once it is known."""
        self.handshake: Handshake | None = None
        """Of a request that may become a WebSocket."""
        self._head: dict[str, Any] | None = None
        self._undeclared: int | None = None
        """Bytes of the declared length not sent yet; None when none was declared."""
        self._sent = False
        self.unlisted = False
        self.pace: Pace = UNPACED
        self.started = False

    async def start(self, status: int, headers: HeaderList) -> list[str]:
        """Take the tenant's head; returns what was left out. Raises BadResponse if it is none."""
        checked = check_response(status, headers)
        notes: list[str] = []
        if any(field[0] == SET_COOKIE for field in checked):
            checked, notes = self._cookies.apply(self.host, checked)
        if checked and checked[-1][0] == b"content-length":
            self._undeclared = int(checked[-1][1])
        if self.unlisted:
            checked = [field for field in checked if field[0] != ROBOTS]
            checked.append((ROBOTS, b"noindex"))
        checked.append((b"waypost-ray", self._ray))
        self._head = {"type": "http.response.start", "status": status, "headers": checked}
        return notes

    async def write(self, chunk: bytes, *, more: bool) -> None:
        """Send body bytes. Raises BadResponse when they are not as many as the head declared."""
        head = self._head
        if head is not None:
            status = head["status"]
            bodiless = self._method == "HEAD" or status in BODILESS
            if status == RESET_CONTENT:
                # The one that ends like any other where no length is told.
                head["headers"].append((b"content-length", b"0"))
            if bodiless:
                chunk, self._undeclared = b"", None
            elif self._undeclared is None and not more:
                head["headers"].append((b"content-length", b"%d" % len(chunk)))
            self._count(chunk, more=more)
            self._head = None
            self.started = True
            self._sent = bodiless
            await self._send(head)
        elif self._sent:
            chunk = b""
        else:
            self._count(chunk, more=more)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    def write_now(self, pieces: list[memoryview], size: int) -> bool:
        """Send body bytes with more to come, if that takes neither waiting nor deciding."""
        left = self._undeclared
        if self._head is not None or self._sent or (left is not None and left < size):
            return False
        if not write_body_now(getattr(self._send, "__self__", None), pieces, size):
            return False
        if left is not None:
            self._undeclared = left - size
        return True

    @property
    def crowded(self) -> bool:
        """What was sent waits for the client to read."""
        return is_crowded(getattr(self._send, "__self__", None))

    def _count(self, chunk: bytes, *, more: bool) -> None:
        if self._undeclared is None:
            return
        self._undeclared -= len(chunk)
        if self._undeclared < 0 or (self._undeclared and not more):
            raise BadResponse("The worker's body is not as long as its Content-Length says.")

    def abort(self) -> None:
        """Nothing more is sent: the server cuts a connection whose answer is not complete."""
        self._head = None

    async def closed(self) -> None:
        """Return when the client is gone (or the answer complete)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def upgrade(self, headers: HeaderList, max_message: int) -> Socket:
        """Become a WebSocket. Raises BadResponse when the tenant's fields do not fit."""
        if self.handshake is None:
            raise BadResponse("The worker answered with a WebSocket that nobody asked for.")
        connection, offer = self.handshake
        checked, _ = self._cookies.apply(self.host, headers)
        head = answer_head(offer, checked, self._ray)
        self.started = True
        client = connection.open_socket(head, max_message)
        client.pace = self.pace
        return client

    async def page(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send a page of the platform's own."""
        self._head = None
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def send_error_page(refusal: Refusal, request: Request, reply: Reply) -> int:
    """Render the page of a refusal as the client prefers it; the bytes of its body."""
    content_type, body = render(refusal, ray=request.ray, accept=request.accept)
    headers = response_headers(refusal, ray=request.ray)
    headers.append((b"content-type", content_type))
    headers.append((b"content-length", b"%d" % len(body)))
    await reply.page(refusal.status, headers, body)
    return len(body) if request.method != "HEAD" else 0
