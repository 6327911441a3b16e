"""From the modules of a bundle to the object that serves requests."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import ModuleType
from typing import Any

from sandbox.errors import ProtocolError
from sandbox.runtime import bytecode, vendored
from sandbox.runtime.adapter import Adapter, is_async_callable, is_plain
from sandbox.runtime.adapter_asgi import AsgiAdapter
from sandbox.runtime.adapter_worker import WorkerAdapter, find_method
from sandbox.runtime.adapter_wsgi import WsgiAdapter
from sandbox.runtime.content import Content
from sandbox.runtime.scheduled import OnlyScheduled, find_handler

_ALIASES = ("asgi", "js", "sandbox")
"""Names of ours that a bundle may well use for a module of its own."""
_NEITHER = (
    "is neither ASGI, called with scope, receive and send, nor WSGI, called with environ and "
    "start_response; a server of its own, such as aiohttp.web and Tornado, cannot run in a worker"
)


class EntrypointError(Exception):
    """The main module has nothing that can serve a request."""


def write_modules(
    bundle_dir: str, modules: Iterable[tuple[str, int]], content: Content, created_ms: int = 0
) -> None:
    """Write a bundle's modules as files. Raises ProtocolError on a name that would leave it."""
    # Every instance of a version shows the same times: frameworks make ETags of them.
    times = (created_ms * 1_000_000,) * 2 if created_ms else None
    made: set[str] = set()
    for name, size in modules:
        path = os.path.join(bundle_dir, *_checked_parts(name))
        folder = os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        _write(path, content.take(size), times)
    content.finish()


def _write(path: str, pieces: Iterable[memoryview], times: tuple[int, int] | None) -> None:
    """Write a file. By its descriptor: of a thousand files each call that is left out counts."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        for piece in pieces:
            while piece:
                piece = piece[os.write(file, piece) :]
        if times is not None:
            os.utime(file, ns=times)
    finally:
        os.close(file)


def _checked_parts(name: str) -> list[str]:
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ProtocolError(f"module name {name!r} is not a plain relative path")
    return parts


def prepare_path(app_dir: str, main: str) -> list[str]:
    """Put the bundle first on the import path, and the main module's own directory after it.

    Returns what the bundle brings along in vain, in words.
    """
    root = os.path.realpath(app_dir)
    own, packages = [root], os.path.join(root, "python_modules")
    folder = os.path.dirname(os.path.join(root, main))
    if folder != root:
        own.append(folder)
    entries = [root, packages, *own[1:]]
    sys.path[:0] = entries
    sys.dont_write_bytecode = True
    # Not all of the caches: the rest of the path is as it was, and to write to what is remembered
    # of each of its directories would copy the pages that all instances share.
    for entry in entries:
        sys.path_importer_cache.pop(entry, None)
    for alias in _ALIASES:
        if any(_has_module(path, alias) for path in own):
            sys.modules.pop(alias, None)
    return vendored.platform.give_way(entries)


def _has_module(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    return os.path.exists(f"{path}.py") or os.path.isdir(path)


def load_main(app_dir: str, main: str) -> ModuleType:
    """Import the main module under its import name, whatever was imported under it before."""
    path = os.path.join(os.path.realpath(app_dir), *_checked_parts(main))
    name = main.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    loader = bytecode.loader_of(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise EntrypointError(f"the main module {main!r} is not a Python module of the bundle")
    parent = name.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find_adapter(module: ModuleType, entrypoint: str | None) -> Adapter:
    """Find what serves requests: the named entrypoint, or the usual names in their order.

    Raises EntrypointError when there is none.
    """
    if entrypoint is not None:
        target = getattr(module, entrypoint, None)
        if target is None:
            raise EntrypointError(f"{module.__name__} has no {entrypoint!r}")
        return _with_schedules(_adapt(entrypoint, target, module), target, module)
    for name in ("Default", "on_fetch", "app", "application", "on_scheduled"):
        target = getattr(module, name, None)
        if target is not None and callable(target):
            return _with_schedules(_adapt(name, target, module), target, module)
    raise EntrypointError(
        f"{module.__name__} has no entrypoint: define class Default(WorkerEntrypoint), "
        "on_fetch(request, env, ctx), or an ASGI or WSGI callable named app or application"
    )


def _adapt(name: str, target: Any, module: ModuleType) -> Adapter:
    if isinstance(target, type):
        return _adapt_class(name, target)
    if not callable(target):
        raise EntrypointError(f"{name} is a {type(target).__name__}, which cannot be called")
    if name == "on_fetch":
        return WorkerAdapter.for_function(target, module)
    if name == "on_scheduled":
        return OnlyScheduled(target)
    if is_asgi(target):
        return AsgiAdapter(target)
    if not is_wsgi(target) and name not in ("app", "application"):
        return WorkerAdapter.for_function(target, module)
    if _takes(target, 2):
        return WsgiAdapter(target)
    if _takes(target, 3):
        return AsgiAdapter(target)
    raise EntrypointError(f"{name} (of {type(target).__module__}) {_NEITHER}")


def _adapt_class(name: str, target: type[Any]) -> Adapter:
    if callable(getattr(target, "fetch", None)):
        return WorkerAdapter.for_class(target)
    if callable(getattr(target, "scheduled", None)):
        return OnlyScheduled(find_method(target, "scheduled"))
    # An instance is made for each request, as PEP 3333 and Starlette's endpoints have it.
    if hasattr(target, "__await__") and _takes(target, 3):
        return AsgiAdapter(target)
    if hasattr(target, "__iter__") and _takes(target, 2):
        return WsgiAdapter(target)
    raise EntrypointError(f"class {name} has no method fetch(self, request)")


def _with_schedules(adapter: Adapter, target: Any, module: ModuleType) -> Adapter:
    """The adapter, knowing what a schedule calls."""
    adapter.scheduled = find_handler(target, module)
    if adapter.scheduled is not None and "scheduled" not in adapter.handlers:
        adapter.handlers = [*adapter.handlers, "scheduled"]
    return adapter


def is_asgi(target: Callable[..., Any]) -> bool:
    """Whether a callable is an ASGI 3 application."""
    names = _parameters(target)
    if names[:3] == ["scope", "receive", "send"]:
        return True
    return is_async_callable(target) and len(names) == 3 and names[0] != "request"


def is_wsgi(target: Callable[..., Any]) -> bool:
    """Whether a callable is a WSGI application: an object, or a function of its two arguments."""
    if not inspect.isroutine(target):
        return True
    names = _parameters(target)
    return len(names) == 2 and (names[0] in ("environ", "env") or names[1] == "start_response")


def _takes(target: Callable[..., Any], count: int) -> bool:
    """Whether a callable can be called with so many arguments."""
    if is_plain(target):
        code = target.__code__
        least = code.co_argcount - len(target.__defaults__ or ())
        most = count if code.co_flags & CO_VARARGS else code.co_argcount
        return least <= count <= most and code.co_kwonlyargcount == len(target.__kwdefaults__ or ())
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _parameters(target: Callable[..., Any]) -> list[str]:
    if is_plain(target) and not target.__code__.co_flags & (CO_VARARGS | CO_VARKEYWORDS):
        code = target.__code__
        return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return []
