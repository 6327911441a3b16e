"""Response: what a handler returns; FetchResponse: what ``fetch`` brings back."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from sandbox.payloads import FetchedHead, HeaderList
from sandbox.runtime.channel import IncomingBody
from sandbox.runtime.headers import Headers, check_status, encode_pairs

from .body import Body
from .request import body_source
from .websocket import WebSocket

_TEXT = [(b"content-type", b"text/plain;charset=UTF-8")]
_BODILESS = (204, 205, 304)
_REDIRECTS = (301, 302, 303, 307, 308)
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade".split()
)


class Response(Body):
    """An HTTP response."""

    _headers: Headers | None = None
    _pairs: HeaderList
    web_socket: WebSocket | None = None
    """The client's end of a WebSocketPair, which makes this the answer to its handshake."""

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        status_text: str = "",
        headers: Any = None,
        web_socket: WebSocket | None = None,
    ) -> None:
        if web_socket is None:
            self.status = check_status(status)
        else:
            self.web_socket = _checked_socket(web_socket, status, body)
            self.status = 101
        self.status_text = status_text
        if headers is None and isinstance(body, str):
            self._source, self._pairs = body.encode(), _TEXT
            kind = None
        else:
            self._pairs = [] if headers is None else encode_pairs(headers)
            self._source, kind = (None, None) if body is None else body_source(body)
        if kind and not any(name == b"content-type" for name, _ in self._pairs):
            self._pairs = [*self._pairs, (b"content-type", kind.encode("latin-1"))]
        if self.status in _BODILESS and self._source:
            raise TypeError(f"a response with status {self.status} cannot have a body")

    @property
    def headers(self) -> Headers:
        """The headers, by case-insensitive name; may be changed."""
        if self._headers is None:
            self._headers = Headers.of(self._pairs)
        return self._headers

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status <= 299

    def encoded_headers(self) -> HeaderList:
        """The headers as the wire wants them. Raises when a changed one is not allowed."""
        check_status(self.status)
        return self.plain_headers()

    def plain_headers(self) -> HeaderList:
        """The headers as the wire wants them, without a look at the status."""
        return self._pairs if self._headers is None else encode_pairs(self._headers)

    def replace_body(self, body: Any) -> Response:
        """Return the same status and headers with another body."""
        dropped = (b"content-length", b"content-encoding")
        pairs = [pair for pair in self.encoded_headers() if pair[0] not in dropped]
        return Response(body, self.status, self.status_text, pairs)

    def clone(self) -> Response:
        """Return a copy whose body can be read as well."""
        copy = Response.__new__(Response)
        copy._source = self.split()
        copy.status, copy.status_text = self.status, self.status_text
        copy._pairs = list(self.encoded_headers())
        return copy

    @staticmethod
    def redirect(url: str, status: int = 302) -> Response:
        """Send the client elsewhere."""
        if status not in _REDIRECTS:
            raise ValueError(f"{status} is not a redirect's status: use one of {_REDIRECTS}")
        return Response(
            None, status, headers={"location": quote(str(url), safe="%/:=&?~#+!$,;'@()*[]")}
        )

    @staticmethod
    def from_json(
        data: Any, status: int = 200, status_text: str = "", headers: Any = None
    ) -> Response:
        """Answer with a value as JSON."""
        pairs = encode_pairs(headers or ())
        if not any(name == b"content-type" for name, _ in pairs):
            pairs.append((b"content-type", b"application/json"))
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return Response(text.encode("utf-8", "surrogatepass"), status, status_text, pairs)

    json = from_json  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"


def _checked_socket(web_socket: Any, status: int, body: Any) -> WebSocket:
    if not isinstance(web_socket, WebSocket):
        kind = type(web_socket).__name__
        raise TypeError(f"web_socket is the first end of a WebSocketPair, not {kind}")
    if status not in (101, 200) or body is not None:
        raise TypeError("a response with web_socket has status 101 and no body")
    return web_socket


class FetchResponse(Response):
    """The answer to a subrequest; its body streams from the wire."""

    type = "default"

    def __init__(self, head: FetchedHead, body: IncomingBody) -> None:
        self.status = head.status
        self.status_text = head.status_text
        self.url = head.url
        self.redirected = head.redirected
        self._pairs = [pair for pair in head.headers if pair[0].lower() not in _HOP_BY_HOP]
        self._source = None if body.finished else body

    async def json(self, **options: Any) -> Any:  # type: ignore[override]
        """Read the whole body as JSON; options go to ``json.loads``."""
        return json.loads(await self.bytes(), **options)

    def encoded_headers(self) -> HeaderList:
        """The headers as the wire wants them, checked: a stranger wrote them."""
        check_status(self.status)
        return encode_pairs(self._headers if self._headers is not None else self._pairs)
