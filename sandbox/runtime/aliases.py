"""The names under which tenants import what is ours: ``workers``, ``asgi``, ``js``."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from sandbox.runtime import workers
from sandbox.runtime.console import console

_SUBMODULES = ("asgi", "wsgi", "workflows", "body", "entry", "fetching", "forms", "request")


def register() -> None:
    """Make them importable. Calling it again changes nothing."""
    sys.modules["workers"] = workers
    for name in (*_SUBMODULES, "response"):
        module = importlib.import_module(f"{workers.__name__}.{name}")
        sys.modules[f"workers.{name}"] = module
    sys.modules["asgi"] = sys.modules["workers.asgi"]
    if "js" not in sys.modules:
        js = ModuleType("js", "What JavaScript's global scope has and this platform offers.")
        js.__dict__["console"] = console
        sys.modules["js"] = js
