"""WSGI applications (PEP 3333): Flask, Django, Bottle. One request at a time."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from sandbox.payloads import HeaderList, RequestHead
from sandbox.protocol import FrameType, encode
from sandbox.runtime.channel import IncomingBody
from sandbox.runtime.context import Invocation
from sandbox.runtime.env import env
from sandbox.runtime.headers import check_status, encode_pairs

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class WsgiAdapter:
    """Calls a WSGI application for each request."""

    kind = "wsgi"
    concurrent = False

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.handlers = ["fetch"]
        self.scheduled: Callable[[Any, Any], Any] | None = None
        self._app = app

    async def startup(self) -> None:
        """Nothing runs before the first request."""

    async def shutdown(self) -> None:
        """Nothing runs after the last request."""

    async def handle(self, invocation: Invocation) -> None:
        """Refuse: synchronous code would stop the event loop."""
        raise RuntimeError("a WSGI application is served by handle_blocking()")

    def handle_blocking(self, invocation: Invocation) -> None:
        """Serve one invocation."""
        source = io.BufferedReader(_Input(invocation.body), 64 * 1024)
        reply = _Reply(invocation)
        chunks = self._app(build_environ(invocation.head, source), reply.start_response)
        try:
            if isinstance(chunks, list | tuple):
                reply.whole(b"".join(chunks))
            else:
                for chunk in chunks:
                    if chunk:
                        reply.write(chunk)
                reply.end()
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()


class _Input(io.RawIOBase):
    """``wsgi.input``: reads from the wire when the application asks for bytes."""

    def __init__(self, body: IncomingBody) -> None:
        self._body = body
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest and not self._body.finished:
            self._rest = self._body.read_chunk_blocking()
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class StartResponse:
    """The status and headers an application has set, by PEP 3333's rules."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: HeaderList = []
        self.head_sent = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Set them; again only with ``exc_info``, and only before anything was sent."""
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise RuntimeError("start_response() was called twice without exc_info")
        number = status.partition(" ")[0] if isinstance(status, str) else ""
        if not number.isdigit():
            raise ValueError(f"WSGI status {status!r:.80} does not begin with a number")
        self.status, self.headers = check_status(int(number)), encode_pairs(headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Send body bytes at once."""
        raise NotImplementedError


class _Reply(StartResponse):
    """Sends a response as the application produces it."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__()
        self._invocation = invocation
        self._out = invocation.response
        self._left: int | None = None

    def whole(self, data: bytes) -> None:
        """Send a body that is all there."""
        if self.head_sent or not self._out.fits(len(data)):
            self.write(data)
            self.end()
            return
        head = self._encoded_head()
        self._out.end_with(data)
        self._invocation.whole = head, data

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"a WSGI body yields bytes, not {type(data).__name__}")
        if not self.head_sent:
            head = encode(FrameType.RESPONSE, self._invocation.stream, self._encoded_head())
            self._left = _content_length(self.headers)
            if self._left == len(data) and self._out.fits(len(data)):
                self._invocation.server.channel.send(head + self._out.frame(data))
                return
            self._invocation.server.channel.send(head)
        self._out.write_blocking(data)

    def end(self) -> None:
        """Send the end of the body, and the head if nothing was ever written."""
        if not self.head_sent:
            self.whole(b"")
        elif not self._out.ended:
            self._out.write_blocking(b"", end=True)

    def _encoded_head(self) -> bytes:
        if self.status is None:
            raise RuntimeError("the WSGI application did not call start_response()")
        self.head_sent = True
        return self._invocation.encode_head(self.status, self.headers)


def _content_length(headers: HeaderList) -> int | None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def build_environ(head: RequestHead, source: Any) -> dict[str, Any]:
    """Build the environ of a request whose body is read from ``source``."""
    path = unquote_to_bytes(head.path).decode("latin-1")
    host, _, port = head.authority.rpartition(":")
    if not port.isdigit():
        host, port = head.authority, "443" if head.scheme == "https" else "80"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": head.mount,
        "PATH_INFO": path.removeprefix(head.mount) if head.mount else path,
        "QUERY_STRING": head.query.decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": head.scheme,
        "wsgi.input": source,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "workers.env": env,
    }
    if head.client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = head.client[0], str(head.client[1])
    for raw_name, raw_value in head.headers:
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    return environ
