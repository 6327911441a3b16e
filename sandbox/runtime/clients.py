"""Well-known HTTP clients without sockets: what they would send goes out as a subrequest.

``http.client`` (and ``urllib.request``), urllib3 (and requests, boto3), httpcore and httpcore2
(and httpx and httpx2) and aiohttp speak HTTP/1.1 to a connection. Here that is an object that hands
one request to ``fetch`` and gives the answer back as HTTP/1.1. So the gateway counts, refuses and
performs it like any other, and TLS is the gateway's as well.
"""

from __future__ import annotations

import http.client
import importlib
import importlib.abc
import io
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from sandbox.runtime.client_transport import ClientTransport, encode_head
from sandbox.runtime.context import adapt_anyio, wait_for_wire
from sandbox.runtime.workers.fetching import fetch
from sandbox.runtime.workers.request import Request

_OURS = frozenset(b"host connection content-length transfer-encoding te upgrade expect".split())
"""Request headers that describe a connection that does not exist."""
_installed: list[bool] = []


class Exchange:
    """One request as a client wrote it, and its answer as a client reads it."""

    def __init__(self, host: str, port: int, *, tls: bool) -> None:
        self.tls = tls
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._written: list[bytes] = []

    def write(self, data: Any) -> None:
        """Take a part of the request."""
        self._written.append(bytes(data))

    def wait(self) -> bytes:
        """Send it from synchronous code, and wait for the answer as HTTP/1.1."""
        answer: bytes = wait_for_wire(_perform(self), self._host)
        return answer

    def request(self) -> Request:
        """Return the whole request. Raises OSError when it is none."""
        head, _, body = b"".join(self._written).partition(b"\r\n\r\n")
        self._written.clear()
        line, *fields = head.decode("latin-1").split("\r\n")
        try:
            method, target, _ = line.split(" ")
        except ValueError:
            raise OSError("this client speaks no HTTP/1.1, which is all that is possible") from None
        pairs = [(name.strip().lower(), value.strip()) for name, _, value in _split(fields)]
        if ("transfer-encoding", "chunked") in pairs:
            body = _dechunk(body)
        url = f"{'https' if self.tls else 'http'}://{self._host}:{self._port}{target}"
        headers = [pair for pair in pairs if pair[0].encode() not in _OURS]
        return Request(url, method=method, headers=headers, body=body or None, redirect="manual")


def _split(fields: list[str]) -> list[tuple[str, str, str]]:
    return [field.partition(":") for field in fields]


def _dechunk(data: bytes) -> bytes:
    source, chunks = io.BytesIO(data), []
    while size := int(source.readline().partition(b";")[0] or b"0", 16):
        chunks.append(source.read(size))
        source.readline()
    return b"".join(chunks)


async def _perform(exchange: Exchange) -> bytes:
    answer = await fetch(exchange.request())
    return encode_head(answer) + await answer.bytes()


class BlockingSocket:
    """What ``http.client`` and urllib3 need of a socket."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def sendall(self, data: Any) -> None:
        """Take a part of the request."""
        self._exchange.write(data)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """Send the request, wait for the answer and return it as a file."""
        return io.BufferedReader(io.BytesIO(self._exchange.wait()))

    def settimeout(self, _seconds: float | None) -> None:
        """Accept it: the gateway's own time limits hold."""

    def setsockopt(self, *_: Any) -> None:
        """Accept it: there is nothing to set."""

    def shutdown(self, _how: int) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


class BlockingStream:
    """What httpcore needs of a network stream."""

    def __init__(self, exchange: Exchange, failed: type[Exception]) -> None:
        self._exchange = exchange
        self._failed = failed
        self._answer: io.BytesIO | None = None

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Take a part of the request."""
        self._exchange.write(data)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return a part of the answer; the first call sends the request."""
        if self._answer is None:
            try:
                self._answer = io.BytesIO(self._exchange.wait())
            except OSError as error:
                raise self._failed(str(error)) from error
        return self._answer.read(max_bytes)

    def start_tls(self, *_: Any, **__: Any) -> BlockingStream:
        """Leave TLS to the gateway."""
        self._exchange.tls = True
        return self

    def get_extra_info(self, _info: str) -> None:
        """Nothing is known."""

    def close(self) -> None:
        """Nothing is open."""


class AsyncStream:
    """What httpcore needs of an asynchronous network stream; answers stream."""

    def __init__(self, exchange: Exchange, failed: type[Exception]) -> None:
        self._exchange = exchange
        self._failed = failed
        self._chunks: AsyncIterator[bytes] | None = None
        self._rest = b""

    async def write(self, data: bytes, *_: Any, **__: Any) -> None:
        """Take a part of the request."""
        self._exchange.write(data)

    async def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        """Return a part of the answer; the first call sends the request."""
        if self._chunks is None:
            try:
                answer = await fetch(self._exchange.request())
            except OSError as error:
                raise self._failed(str(error)) from error
            self._rest, self._chunks = encode_head(answer), answer.take_chunks()
        elif not self._rest:
            self._rest = await anext(self._chunks, b"")
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def start_tls(self, *_: Any, **__: Any) -> AsyncStream:
        """Leave TLS to the gateway."""
        self._exchange.tls = True
        return self

    def get_extra_info(self, _info: str) -> None:
        """Nothing is known."""

    async def aclose(self) -> None:
        """Nothing is open."""


def _connect(self: Any) -> None:
    tls = isinstance(self, http.client.HTTPSConnection)
    self.sock = BlockingSocket(Exchange(self.host, self.port, tls=tls))


def _adapt_urllib3(module: ModuleType) -> None:
    def connect(self: Any) -> None:
        tls = isinstance(self, module.HTTPSConnection)
        self.sock = BlockingSocket(Exchange(self.host, self.port, tls=tls))
        self.is_verified = True

    module.HTTPConnection.connect = connect
    module.HTTPSConnection.connect = connect


def _connect_error(module: ModuleType) -> type[Exception]:
    """Return what users of the package a module is of expect when there is no answer."""
    package = importlib.import_module(module.__name__.partition(".")[0])
    error: type[Exception] = package.ConnectError
    return error


def _adapt_httpcore(module: ModuleType) -> None:
    def connect_tcp(_self: Any, host: str, port: int, *_: Any, **__: Any) -> BlockingStream:
        return BlockingStream(Exchange(host, port, tls=False), _connect_error(module))

    module.SyncBackend.connect_tcp = connect_tcp


def _adapt_async_httpcore(module: ModuleType) -> None:
    async def connect_tcp(_self: Any, host: str, port: int, *_: Any, **__: Any) -> AsyncStream:
        return AsyncStream(Exchange(host, port, tls=False), _connect_error(module))

    module.AutoBackend.connect_tcp = connect_tcp


def _adapt_aiohttp(module: ModuleType) -> None:
    async def connect(self: Any, req: Any, *_: Any, **__: Any) -> tuple[ClientTransport, Any]:
        protocol = self._factory()
        exchange = Exchange(req.url.raw_host, req.port, tls=req.is_ssl())
        transport = ClientTransport(exchange, protocol)
        protocol.connection_made(transport)
        return transport, protocol

    module.TCPConnector._create_direct_connection = connect


def _adapt_botocore(module: ModuleType) -> None:
    """Leave out ``Expect: 100-continue``: there is nobody who would send the 100."""
    original = module.AWSConnection.request

    def request(
        self: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        *args: Any,
        **kw: Any,
    ) -> Any:
        kept = {name: headers[name] for name in headers or () if name.lower() != "expect"}
        return original(self, method, url, body, kept, *args, **kw)

    module.AWSConnection.request = request


def _load_httpcore(module: ModuleType) -> None:
    """Load at once, while the script does, what httpx loads at its first request."""
    importlib.import_module(module.__name__.replace("httpx", "httpcore"))


_ADAPTERS: dict[str, Callable[[Any], None]] = {
    "aiohttp.connector": _adapt_aiohttp,
    "anyio.to_thread": adapt_anyio,
    "botocore.awsrequest": _adapt_botocore,
    "urllib3.connection": _adapt_urllib3,
    "httpx": _load_httpcore,
    "httpcore._backends.sync": _adapt_httpcore,
    "httpcore._backends.auto": _adapt_async_httpcore,
    "httpx2": _load_httpcore,
    "httpcore2._backends.sync": _adapt_httpcore,
    "httpcore2._backends.auto": _adapt_async_httpcore,
}


class _Adapting(importlib.abc.MetaPathFinder):
    """Adapts the known clients as they are imported, from wherever they come."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what the other finders find, and have it adapted once it is loaded."""
        adapt = _ADAPTERS.get(name)
        if adapt is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                _adapt_after(spec.loader, adapt)
                return spec
        return None


def _adapt_after(loader: Any, adapt: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        adapt(module)

    loader.exec_module = exec_module


def _no_certificates(_context: ssl.SSLContext, *_: Any, **__: Any) -> None:
    """Load nothing: no TLS is spoken here, and reading all authorities takes 10 ms."""


def install() -> None:
    """Adapt the standard library's client now and others when they are imported."""
    if _installed:
        return
    _installed.append(True)
    http.client.HTTPConnection.connect = _connect  # type: ignore[method-assign]
    http.client.HTTPSConnection.connect = _connect  # type: ignore[method-assign]
    for name in ("load_verify_locations", "load_default_certs", "set_default_verify_paths"):
        setattr(ssl.SSLContext, name, _no_certificates)
    for name, adapt in _ADAPTERS.items():
        if name in sys.modules:
            adapt(sys.modules[name])
    sys.meta_path.insert(0, _Adapting())
