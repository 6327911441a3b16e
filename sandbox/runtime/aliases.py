"""The names under which tenants import what is ours: ``workers``, ``asgi``, ``js``, ``pyodide``."""

from __future__ import annotations

import importlib
import sys

from sandbox.runtime import absent, clients, context, javascript, workers

_SUBMODULES = ("asgi", "wsgi", "workflows", "body", "entry", "fetching", "forms", "request")


def register() -> None:
    """Make them importable, and explain what is not there. Calling it again changes nothing."""
    if sys.modules.get("workers") is workers and "js" in sys.modules:
        return
    absent.install()
    clients.install()
    context.install()
    sys.modules["workers"] = workers
    for name in (*_SUBMODULES, "response"):
        module = importlib.import_module(f"{workers.__name__}.{name}")
        sys.modules[f"workers.{name}"] = module
    sys.modules["asgi"] = sys.modules["workers.asgi"]
    if "js" not in sys.modules:
        sys.modules.update(javascript.modules())
