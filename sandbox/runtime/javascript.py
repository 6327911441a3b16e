"""The modules ``js`` and ``pyodide``, as far as Workers written for Pyodide use them here.

There is no JavaScript: every name leads to the Python object that does the same, and conversions
return what they get.
"""

from __future__ import annotations

import datetime
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from sandbox.runtime import workers
from sandbox.runtime.console import console


class JsProxy:
    """Nothing is one: for ``isinstance``."""


class JsException(Exception):
    """Nothing raises it: for ``except``."""


class Response(workers.Response):
    """``Response.new(body, init)``."""

    @classmethod
    def new(cls, body: Any = None, init: Any = None, **options: Any) -> workers.Response:
        """Make a response; the second argument or keywords are JavaScript's options."""
        options = {**(init or {}), **options}
        text = options.pop("statusText", options.pop("status_text", ""))
        known: dict[str, Any] = {
            name: options[name] for name in ("status", "headers") if name in options
        }
        socket = options.get("webSocket", options.get("web_socket"))
        if socket is not None:
            known["web_socket"] = socket
        return workers.Response(body, status_text=text, **known)


class Request(workers.Request):
    """``Request.new(url, init)``."""

    @classmethod
    def new(cls, resource: Any, init: Any = None, **options: Any) -> workers.Request:
        """Make a request; the second argument or keywords are JavaScript's options."""
        return workers.Request(resource, **{**(init or {}), **options})


class Headers(workers.Headers):
    """``Headers.new(pairs)``."""

    @classmethod
    def new(cls, headers: Any = None) -> workers.Headers:
        """Make headers of a mapping or pairs."""
        return workers.Headers(headers)


class FormData(workers.FormData):
    """``FormData.new()``."""

    @classmethod
    def new(cls) -> workers.FormData:
        """Make an empty form."""
        return workers.FormData()


class Uint8Array(bytes):
    """What ``to_js`` makes of bytes: themselves, with what is asked of an array."""

    @classmethod
    def new(cls, value: Any = b"", *_: Any) -> Uint8Array:
        """Make one of bytes, numbers or a length."""
        return cls(value)

    @property
    def buffer(self) -> Uint8Array:
        """The same bytes."""
        return self

    @property
    def length(self) -> int:
        """How many they are."""
        return len(self)

    byteLength = length  # noqa: N815 - JavaScript's spelling

    def to_py(self, **_: Any) -> memoryview:
        """The same bytes, as Pyodide converts them."""
        return memoryview(self)

    def to_bytes(self) -> bytes:
        """The same bytes."""
        return bytes(self)


class JSON:
    """``JSON.parse`` and ``JSON.stringify``."""

    @staticmethod
    def parse(text: str) -> Any:
        """Read JSON."""
        return json.loads(text)

    @staticmethod
    def stringify(value: Any, *_: Any) -> str:
        """Write JSON."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Object:
    """``Object.fromEntries``, known as a ``dict_converter``."""

    @staticmethod
    def fromEntries(entries: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:  # noqa: N802
        """Make a dict of pairs."""
        return dict(entries)

    @staticmethod
    def values(value: Any) -> list[Any]:
        """List the values of a mapping, or both ends of a WebSocketPair."""
        return list(value.values() if isinstance(value, Mapping) else value)

    @staticmethod
    def new() -> dict[Any, Any]:
        """Make an empty dict."""
        return {}


class Date:
    """``Date.now``."""

    @staticmethod
    def now() -> int:
        """Milliseconds since 1970."""
        return int(time.time() * 1000)

    @staticmethod
    def new() -> datetime.datetime:
        """The time now."""
        return datetime.datetime.now(datetime.UTC)


class _Crypto:
    @staticmethod
    def randomUUID() -> str:  # noqa: N802
        return str(uuid.uuid4())


async def fetch(resource: Any, init: Any = None, **options: Any) -> workers.FetchResponse:
    """Send a request; the second argument or keywords are JavaScript's options."""
    return await workers.fetch(resource, **{**(init or {}), **options})


def to_js(value: Any, **_: Any) -> Any:
    """Return the value; bytes get what JavaScript's arrays have."""
    return Uint8Array(value) if isinstance(value, bytes | bytearray | memoryview) else value


def create_proxy(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    """Return the function: nothing has to be kept alive."""
    return function


def modules() -> dict[str, ModuleType]:
    """Return what is importable of JavaScript's world, by name."""
    js = ModuleType("js", "What JavaScript's global scope has and this platform offers.")
    classes = (Response, Request, Headers, FormData, JSON, Object, Date, Uint8Array)
    js.__dict__.update({kind.__name__: kind for kind in classes})
    js.__dict__.update(
        console=console,
        fetch=fetch,
        crypto=_Crypto,
        Blob=workers.Blob,
        File=workers.File,
        WebSocketPair=workers.WebSocketPair,
    )
    ffi = ModuleType("pyodide.ffi", "Conversions that convert nothing.")
    ffi.__dict__.update(
        to_js=to_js,
        create_proxy=create_proxy,
        create_once_callable=create_proxy,
        run_sync=workers.run_sync,
        JsProxy=JsProxy,
        JsException=JsException,
    )
    http = ModuleType("pyodide.http", "Pyodide's name for fetch.")
    http.__dict__.update(pyfetch=fetch, FetchResponse=workers.FetchResponse)
    pyodide = ModuleType("pyodide", "The names of Pyodide that Workers use.")
    pyodide.__dict__.update(__path__=[], ffi=ffi, http=http)
    return {"js": js, "pyodide": pyodide, "pyodide.ffi": ffi, "pyodide.http": http}
