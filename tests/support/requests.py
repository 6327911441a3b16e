"""Requests as the edge makes them, and ASGI scopes as it is given."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.model.http import HeaderList, Request

_PLAIN = Request(
    ray="r",
    method="GET",
    scheme="http",
    host="acme.localhost",
    authority="acme.localhost",
    path=b"/",
    query=b"",
    headers=[],
    client=None,
    accept="",
)


def a_request(**fields: Any) -> Request:
    """One for ``acme.localhost``, with other fields as told."""
    return msgspec.structs.replace(_PLAIN, **fields)


def a_scope(method: str, headers: HeaderList, **more: Any) -> dict[str, Any]:
    """The ASGI scope of a request for ``/``."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": None,
        **more,
    }
