"""Replace json, asyncio, socket, ssl and msgspec; the next version must not see it."""

import asyncio
import builtins
import json
import socket
import ssl
import sys


def attempt():
    def lie(*_, **__):
        return "poisoned"

    for module in (json, socket, ssl, sys.modules["msgspec"], sys.modules.get("msgspec.msgpack")):
        for name in dir(module):
            if not name.startswith("__") and callable(getattr(module, name)):
                try:
                    setattr(module, name, lie)
                except (AttributeError, TypeError):
                    pass
    asyncio.Task = asyncio.Future = lie
    builtins.len = lie
    for name in list(sys.modules):
        if name.startswith("sandbox"):
            sys.modules[name] = None
    return {"success": False, "detail": ""}
