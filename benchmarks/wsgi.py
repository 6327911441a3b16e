"""The peers' applications once more, for a WSGI server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks.streams import EVENT_SECONDS, PIECE

_TEXT = ("Content-Type", "text/plain;charset=utf-8")


def hello(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The smallest WSGI application."""
    start("200 OK", [_TEXT, ("Content-Length", "5")])
    return [b"hello"]


def streams(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Stream what the path asks for."""
    number = int(environ["QUERY_STRING"] or 0)
    if environ["PATH_INFO"] == "/down":
        start("200 OK", [_TEXT, ("Content-Length", str(number))])
        return (PIECE[:left] for left in range(number, 0, -len(PIECE)))
    if environ["PATH_INFO"] == "/events":
        start("200 OK", [("Content-Type", "text/event-stream")])
        return _events(number)
    size = 0
    while piece := environ["wsgi.input"].read(len(PIECE)):
        size += len(piece)
    body = b"%d" % size
    start("200 OK", [_TEXT, ("Content-Length", str(len(body)))])
    return [body]


def _events(number: int) -> Iterator[bytes]:
    for _ in range(number):
        time.sleep(EVENT_SECONDS)
        yield b"data: %.6f\n\n" % time.time()
