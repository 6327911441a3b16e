"""From an ASGI scope into the corridor: nothing of a request is left when it is over."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from gateway.bindings.hops import Hops
from gateway.config import Config
from gateway.edge.asgi import Edge
from gateway.model.http import Reply, Request

pytestmark = pytest.mark.anyio


class Corridor:
    """Takes a request and lets it go."""

    arrive = board_late = forsake = None

    def __init__(self) -> None:
        self.readers: list[weakref.ref[Any]] = []

    async def dispatch(self, request: Request, reply: Reply) -> None:
        assert request.receive is not None
        self.readers.append(weakref.ref(request.receive))


async def test_a_request_with_a_body_is_forgotten_when_it_is_over() -> None:
    corridor: Any = Corridor()
    edge = Edge(corridor, Config(), Hops(b"key"))
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"a.localhost"), (b"content-length", b"5")],
        "client": ("192.0.2.1", 1),
    }

    async def nothing(*_: object) -> Any:
        raise AssertionError("nothing is read, and nothing sent")

    await edge(scope, nothing, nothing)
    assert [reader() for reader in corridor.readers] == [None]
