"""The package tenants import as ``workers``: Cloudflare's names, plain Python underneath."""

from __future__ import annotations

from typing import Any

from sandbox.runtime.console import console
from sandbox.runtime.context import Context, run_sync, wait_until
from sandbox.runtime.env import env, patch_env
from sandbox.runtime.headers import Headers
from sandbox.runtime.trace import CpuLimitExceeded

from .entry import (
    DurableObject,
    WorkerEntrypoint,
    WorkflowEntrypoint,
    handler,
    import_from_javascript,
    python_from_rpc,
    python_to_rpc,
)
from .fetching import FetchError, SubrequestLimitExceeded, fetch
from .forms import Blob, BlobEnding, BlobValue, File, FormData, FormDataValue
from .request import Request
from .response import FetchResponse, Response
from .websocket import CloseEvent, MessageEvent, WebSocket, WebSocketPair

Body = Any
JSBody = Any
FetchKwargs = dict[str, Any]
RequestInitCfProperties = dict[str, Any]
waitUntil = wait_until  # noqa: N816 - Cloudflare's spelling

__all__ = [
    "Blob",
    "BlobEnding",
    "BlobValue",
    "Body",
    "CloseEvent",
    "Context",
    "CpuLimitExceeded",
    "DurableObject",
    "FetchError",
    "FetchKwargs",
    "FetchResponse",
    "File",
    "FormData",
    "FormDataValue",
    "Headers",
    "JSBody",
    "MessageEvent",
    "Request",
    "RequestInitCfProperties",
    "Response",
    "SubrequestLimitExceeded",
    "WebSocket",
    "WebSocketPair",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "console",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "run_sync",
    "waitUntil",
    "wait_until",
]
