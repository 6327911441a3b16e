"""The two shapes of answers: Cloudflare's envelope, and our own plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from gateway.api.errors import TooManyRequests
from gateway.errors import ControlError

CLOUDFLARE_PREFIX: Final = "/client/v4"
JSON: Final = "application/json"
_encode = msgspec.json.encode


def envelope(
    result: Any,
    *,
    status: int = 200,
    notes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
) -> Response:
    """A success in Cloudflare's envelope; ``notes`` are its messages, ``info`` its result_info."""
    messages = [{"code": 10000, "message": note} for note in notes]
    body: dict[str, Any] = {"success": True, "errors": [], "messages": messages, "result": result}
    if info is not None:
        body["result_info"] = info
    return Response(_encode(body), status, media_type=JSON)


def plain(value: Any, *, status: int = 200) -> Response:
    """A success of our own resources."""
    return Response(_encode(value), status, media_type=JSON)


def failure(path: str, error: ControlError) -> Response:
    """An error in the shape that clients of this path expect."""
    if path.startswith(CLOUDFLARE_PREFIX):
        body = _envelope_failure(error)
    else:
        body = {"error": {"code": error.word, "message": error.message}}
        if error.fix:
            body["error"]["fix"] = error.fix
    headers = {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        headers["retry-after"] = str(error.retry_after_seconds)
    return Response(_encode(body), error.status, headers, media_type=JSON)


def _envelope_failure(error: ControlError) -> dict[str, Any]:
    entry: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.fix:
        entry["error_chain"] = [{"code": error.code, "message": error.fix}]
    return {"success": False, "errors": [entry], "messages": [], "result": None}
