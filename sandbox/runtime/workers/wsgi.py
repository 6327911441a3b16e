"""``workers.wsgi``: a WSGI application behind a Worker's own fetch handler."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sandbox.runtime.adapter_wsgi import StartResponse
from sandbox.runtime.adapter_wsgi import build_environ as _build_environ

from .request import Request
from .response import Response


def build_environ(req: Request, env: Any, body: bytes) -> dict[str, Any]:
    """Build the environ of a request whose body has been read."""
    environ = _build_environ(req.wire_head(), io.BytesIO(body))
    environ["workers.env"] = env
    return environ


async def fetch(
    app: Callable[..., Iterable[bytes]], req: Request, env: Any, ctx: Any = None
) -> Response:
    """Serve a request with a WSGI application. The request's body is read first."""
    environ = build_environ(req, env, await req.bytes())
    started = _Started()
    chunks = app(environ, started.start_response)
    return started.response(chunks)


class _Started(StartResponse):
    """Keeps what the application writes for a Response."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def response(self, chunks: Iterable[bytes]) -> Response:
        iterator = iter(chunks)
        # An application may call start_response only when its first chunk is asked for.
        first = next(iterator, b"")
        if self.status is None:
            raise RuntimeError("the WSGI application did not call start_response()")
        if isinstance(chunks, list | tuple):
            return Response(b"".join([*self._written, *chunks]), self.status, "", self.headers)
        body = self._body(chunks, first, iterator)
        return Response(body, self.status, "", self.headers)

    def _body(
        self, chunks: Iterable[bytes], first: bytes, rest: Iterator[bytes]
    ) -> Iterator[bytes]:
        try:
            yield b"".join([*self._written, first])
            yield from rest
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
