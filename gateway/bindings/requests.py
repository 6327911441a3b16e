"""From what a tenant asked for to what goes over the network, and from hop to hop of a redirect.

Rules: the Fetch standard's HTTP-redirect fetch, RFC 9110 §7.6.1 (hop-by-hop fields).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

import httpx

from gateway.bindings.decoding import ACCEPTED
from gateway.bindings.errors import OutboundError
from gateway.model.http import HeaderList
from sandbox.payloads import FetchHead

MAX_URL: Final = 16 * 1024
"""Longest URL, characters."""
MAX_HEADER_BYTES: Final = 128 * 1024
"""All field names and values together, bytes, in either direction."""
MAX_HEADERS: Final = 256
"""Fields of a message, in either direction."""
MAX_REPLAY: Final = 64 * 1024
"""Bytes of a request body kept for a redirect that repeats it."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_SENT: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"http2-settings"}
_OF_BODY: Final = frozenset(
    {
        b"content-encoding",
        b"content-language",
        b"content-location",
        b"content-length",
        b"content-type",
    }
)
_OF_ORIGIN: Final = frozenset({b"authorization", b"cookie"})
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NORMALISED: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"})
_FORBIDDEN: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
_DECIMAL: Final = re.compile(rb"[0-9]{1,18}")


def parse_url(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """Read an absolute http(s) URL, or one relative to ``base``. Raises OutboundError."""
    if len(text) > MAX_URL:
        raise OutboundError("bad_url", f"the URL is longer than {MAX_URL} characters")
    try:
        url = base.join(text) if base else httpx.URL(text)
        # Not all that is read is looked at before it is asked for, and some of it is made longer.
        host, port, url = url.host, url.port, url.copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise OutboundError("bad_url", f"not a URL: {error}"[:300]) from None
    if url.scheme not in ("http", "https"):
        raise OutboundError(
            "bad_url", f"only http and https URLs can be fetched, not {text[:100]!r}"
        )
    if not host or (port is not None and not 0 < port < 65536):
        raise OutboundError("bad_url", "the URL names no host or port to connect to")
    if url.userinfo:
        raise OutboundError("bad_url", "the URL carries credentials; use an Authorization header")
    return url


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port, with the scheme's own port filled in."""
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


class Body:
    """A request body: streamed once, and again when it was short enough to be kept."""

    def __init__(self, chunks: AsyncIterator[bytes], length: int | None) -> None:
        self._chunks = chunks
        self._length = length
        self._kept: list[bytes] = []
        self._size = 0
        self._ended = False

    @property
    def replayable(self) -> bool:
        """Whether all of it was sent and kept."""
        return self._ended and self._size <= MAX_REPLAY

    async def stream(self) -> AsyncIterator[bytes]:
        """The body from its start. Raises OutboundError when it is not as long as announced."""
        if self._ended:
            for chunk in self._kept:
                yield chunk
            return
        async for chunk in self._chunks:
            self._size += len(chunk)
            if self._size <= MAX_REPLAY:
                self._kept.append(chunk)
            else:
                self._kept.clear()
            if self._length is not None and self._size > self._length:
                break
            yield chunk
        if self._length is not None and self._size != self._length:
            raise OutboundError("bad_request", "the body is not as long as its Content-Length")
        self._ended = True


class Outgoing:
    """One hop of a subrequest; ``follow`` makes the next one of it."""

    def __init__(self, head: FetchHead, body: AsyncIterator[bytes] | None) -> None:
        self.url = parse_url(head.url)
        self.method = _method(head.method)
        if body is not None and self.method in ("GET", "HEAD"):
            raise OutboundError("bad_request", f"a {self.method} request cannot have a body")
        self._length = _content_length(head.headers)
        self.body = Body(body, self._length) if body is not None else None
        self._headers = _clean(head.headers)
        self.decode = not any(name == b"accept-encoding" for name, _ in self._headers)
        """Whether Content-Encoding is undone here, because the tenant did not ask for any."""

    def fields(self) -> HeaderList:
        """The header fields of this hop."""
        fields: HeaderList = [(b"host", self.url.netloc), *self._headers]
        if self.decode:
            fields.append((b"accept-encoding", ACCEPTED))
        if self.body is None:
            if self.method in ("POST", "PUT", "PATCH"):
                fields.append((b"content-length", b"0"))
        elif self._length is not None:
            fields.append((b"content-length", b"%d" % self._length))
        else:
            fields.append((b"transfer-encoding", b"chunked"))
        return fields

    def follow(self, status: int, location: bytes) -> None:
        """Turn into the request that a redirect asks for. Raises OutboundError."""
        try:
            target = location.decode("utf-8")
        except UnicodeDecodeError:
            target = location.decode("latin-1")
        url = parse_url(target, self.url)
        becomes_get = (status in (301, 302) and self.method == "POST") or (
            status == 303 and self.method not in ("GET", "HEAD")
        )
        if becomes_get:
            self.method, self.body = "GET", None
            self._drop(_OF_BODY)
        elif self.body is not None and not self.body.replayable:
            raise OutboundError(
                "redirect", f"a redirect ({status}) asks to send a streamed body again"
            )
        if origin(url) != origin(self.url):
            self._drop(_OF_ORIGIN)
        self.url = url

    def _drop(self, names: frozenset[bytes]) -> None:
        self._headers = [field for field in self._headers if field[0] not in names]


def _method(text: str) -> str:
    method = text.upper() if text.upper() in _NORMALISED else text
    if not _TOKEN.fullmatch(method.encode("utf-8", "replace")) or len(method) > 32:
        raise OutboundError("bad_request", f"not an HTTP method: {text[:40]!r}")
    if method.upper() in _FORBIDDEN:
        raise OutboundError("bad_request", f"the method {method} cannot be fetched with")
    return method


def _content_length(headers: HeaderList) -> int | None:
    values = [value.strip() for name, value in headers if name.lower() == b"content-length"]
    return int(values[0]) if len(values) == 1 and _DECIMAL.fullmatch(values[0]) else None


def _clean(headers: HeaderList) -> HeaderList:
    """Drop what is not the tenant's to say to the next hop; refuse what is not HTTP."""
    if len(headers) > MAX_HEADERS:
        raise OutboundError("bad_request", f"more than {MAX_HEADERS} request headers")
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise OutboundError("bad_request", f"request headers over {MAX_HEADER_BYTES} bytes")
    cleaned: HeaderList = []
    for raw_name, raw_value in headers:
        name, value = raw_name.lower(), raw_value.strip(b" \t")
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise OutboundError("bad_request", f"not an HTTP header: {raw_name[:60]!r}")
        if name not in _NOT_SENT and not name.startswith(b"waypost-"):
            cleaned.append((name, value))
    return cleaned
