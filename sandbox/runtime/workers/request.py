"""Request: what came in, or what ``fetch`` is to send."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from http import HTTPMethod
from typing import Any
from urllib.parse import urlsplit

from sandbox.payloads import HeaderList, RequestHead
from sandbox.runtime.context import Invocation
from sandbox.runtime.headers import Headers, encode_pairs

from .body import Body, Source
from .forms import Blob, FormData

_REDIRECTS = ("follow", "manual", "error")


class Request(Body):
    """An HTTP request. Its parts are made when they are asked for."""

    _head: RequestHead | None = None
    _url: str | None = None
    _headers: Headers | None = None
    _pairs: HeaderList
    _method = "GET"
    redirect = "follow"
    # What a browser would say of itself; here the values of a request that no page has made.
    cf = None
    cache = "default"
    credentials = "same-origin"
    destination = ""
    integrity = ""
    is_history_navigation = False
    keepalive = False
    mode = "cors"
    referrer = "about:client"
    referrer_policy = ""

    def __init__(
        self,
        input: str | Request,
        *,
        method: str | None = None,
        headers: Any = None,
        body: Any = None,
        redirect: str | None = None,
        **_other: Any,
    ) -> None:
        inherited: Source = None
        self._pairs = []
        if isinstance(input, Request):
            self._url, self._method, self.redirect = input.url, input._method, input.redirect
            self._pairs = list(input.encoded_headers())
            inherited = input.hand_over() if body is None else None
        else:
            self._url = checked_url(str(input))
        if method is not None:
            self._method = _checked_method(method)
        if headers is not None:
            self._pairs = encode_pairs(headers)
        if redirect is not None:
            self.redirect = _checked_redirect(redirect)
        self._source = inherited if body is None else self._own_source(body)

    def _own_source(self, body: Any) -> Source:
        if self._method in ("GET", "HEAD"):
            raise TypeError(f"a {self._method} request cannot have a body")
        source, kind = body_source(body)
        if kind and not any(name == b"content-type" for name, _ in self._pairs):
            self._pairs.append((b"content-type", kind.encode("latin-1")))
        return source

    @classmethod
    def of(cls, invocation: Invocation) -> Request:
        """Wrap the request of an invocation."""
        request = cls.__new__(cls)
        request._head = invocation.head
        request._pairs = invocation.head.headers
        request._method = invocation.head.method
        body = invocation.body
        if not body.finished:
            request._source = body
        return request

    def wire_head(self) -> RequestHead:
        """The request as the gateway described it, or as it would have."""
        if self._head is not None:
            return self._head
        parts = urlsplit(self.url)
        path, query = (parts.path or "/").encode(), parts.query.encode()
        headers = self.encoded_headers()
        return RequestHead(
            self._method, parts.scheme, parts.netloc, path, query, headers, None, "", ""
        )

    @property
    def url(self) -> str:
        """The absolute URL, as the client asked for it."""
        if self._url is None:
            head = self._head
            if head is None:
                raise RuntimeError("this Request was never given a URL")
            query = f"?{head.query.decode('latin-1')}" if head.query else ""
            self._url = f"{head.scheme}://{head.authority}{head.path.decode('latin-1')}{query}"
        return self._url

    @property
    def method(self) -> HTTPMethod | str:
        """The method, an HTTPMethod when it is one of the usual."""
        try:
            return HTTPMethod(self._method)
        except ValueError:
            return self._method

    @property
    def headers(self) -> Headers:
        """The headers, by case-insensitive name."""
        if self._headers is None:
            self._headers = Headers.of(self._pairs)
        return self._headers

    def encoded_headers(self) -> HeaderList:
        """The headers as the wire wants them."""
        return self._pairs if self._headers is None else encode_pairs(self._headers)

    def clone(self) -> Request:
        """Return a copy whose body can be read as well."""
        copy = Request.__new__(Request)
        copy._source = self.split()
        copy._url, copy._method, copy.redirect = self.url, self._method, self.redirect
        copy._pairs = list(self.encoded_headers())
        return copy

    def __repr__(self) -> str:
        return f"<Request {self._method} {self.url}>"


def checked_url(url: str) -> str:
    """Return an absolute http or https URL. Raises TypeError when it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid or any(ord(char) <= 32 for char in url):
        raise TypeError(f"Invalid URL: {url!r:.200}. fetch() takes an absolute http or https URL.")
    return url


def _checked_redirect(redirect: str) -> str:
    if redirect not in _REDIRECTS:
        raise TypeError(f"redirect is {redirect!r}, expected one of {_REDIRECTS}")
    return redirect


def _checked_method(method: str) -> str:
    text = str(method).upper()
    if not text.isascii() or not text.isalpha():
        raise TypeError(f"invalid method {method!r:.40}")
    if text in ("CONNECT", "TRACE", "TRACK"):
        raise TypeError(f"method {text} is forbidden")
    return text


def body_source(body: Any) -> tuple[Source, str | None]:
    """Return where a body's bytes come from and the Content-Type it implies.

    Raises TypeError for what cannot be a body.
    """
    if isinstance(body, str):
        return body.encode(), "text/plain;charset=UTF-8"
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), None
    if isinstance(body, FormData):
        return body.encode()
    if isinstance(body, Blob):
        return body.raw(), body.content_type or None
    if isinstance(body, dict | list | tuple | set):
        raise TypeError(
            f"a body cannot be a {type(body).__name__}: use json.dumps(...) or Response.json(...)"
        )
    if isinstance(body, AsyncIterable | Iterable):
        return body, None
    raise TypeError(
        f"a body is str, bytes, FormData, Blob or an iterator of bytes, not {type(body).__name__}"
    )
