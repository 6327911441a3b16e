"""Which of Cloudflare's calls exist here, and how much of each: a page made from the routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from starlette.routing import BaseRoute, Route

from gateway.api import tail_sockets
from gateway.api.absent import ABSENT, EMPTY
from gateway.api.faces import CLOUDFLARE_PREFIX
from gateway.api.paths import ACCOUNT, NAMESPACES, SCRIPT, WORKER

FULL: Final = "full"
PARTIAL: Final = "partial"
MISSING: Final = "absent"
_CODE: Final = (
    "Python, no JavaScript; bindings `plain_text`, `json`, `secret_text`, `inherit`; no assets,"
    " migrations, tail consumers"
)
_SECRETS: Final = "`secret_text`, no `secret_key`"
_ALWAYS_ON: Final = "`enabled` is always on; previews can be switched"
_SCRIPT_NOTES: Final = {
    ("PUT", ""): _CODE,
    ("POST", "/versions"): _CODE,
    (
        "PATCH",
        "/settings",
    ): "bindings as of an upload; `logpush`, `placement` and the like do nothing",
    ("PUT", "/secrets"): _SECRETS,
    ("PATCH", "/secrets-bulk"): _SECRETS,
}
NOTES: Final[dict[tuple[str, str], str]] = {
    **{
        (method, base + suffix): note
        for (method, suffix), note in _SCRIPT_NOTES.items()
        for base in (SCRIPT, WORKER)
    },
    ("PUT", f"{NAMESPACES}/{{namespace}}"): "renames an empty one",
    ("GET", f"{WORKER}/script-settings"): "tags",
    ("PATCH", f"{WORKER}/script-settings"): "tags; the rest does nothing",
    ("GET", f"{WORKER}/subdomain"): _ALWAYS_ON,
    ("POST", f"{WORKER}/subdomain"): _ALWAYS_ON,
    ("DELETE", f"{WORKER}/subdomain"): _ALWAYS_ON,
    ("GET", f"{WORKER}/references"): "nothing refers to a script yet",
    ("PATCH", f"{ACCOUNT}/workers/workers/{{name}}/versions/latest"): "secrets",
    ("GET", f"{CLOUDFLARE_PREFIX}/zones"): "every name that is asked for is one",
    ("GET", f"{CLOUDFLARE_PREFIX}/zones/{{zone}}/workers/routes"): "always an empty list",
    ("PUT", f"{WORKER}/domains/records"): "hostnames that are left out stay",
    ("PUT", f"{WORKER}/routes"): "whole hostnames (`shop.example.com/*`); those left out stay",
    (
        "PUT",
        f"{ACCOUNT}/workers/domains",
    ): "zone and environment are nothing here",
    **{("GET", f"{ACCOUNT}/{path}"): "always an empty list" for path in EMPTY},
}
"""What is left out of the calls that exist in part."""
_ABSENT: Final = {(method, path): f"{what}; {fix}" for path, method, what, fix in ABSENT}
_SHORT: Final = ((SCRIPT, "S"), (WORKER, "W"), (ACCOUNT, "~"), (CLOUDFLARE_PREFIX, ""))
_HEAD: Final = """# Cloudflare's calls

Made from the routes by `python -m tests.docs.compatibility`; a test keeps it true. Paths are below
`/client/v4`: `~` is `/accounts/{account}`, `W` is `~/workers/scripts/{name}`, `S` is
`~/workers/dispatch/namespaces/{namespace}/scripts/{name}`, which is the same script when the
namespace is the default one. How they are used says [Control API](api.md).

| call | | |
|---|---|---|
"""
_FOOT: Final = """
Everything else of Cloudflare's is absent: KV, D1, R2, queues, workflows, Durable Objects,
Hyperdrive, Vectorize, zones and their routes, Pages. What is absent answers 404 with code 7003 in
the envelope.
"""


class Entry(NamedTuple):
    """One call."""

    method: str
    path: str
    state: str
    note: str

    @property
    def shown(self) -> str:
        """The path, abbreviated."""
        path = self.path.replace(":path", "")
        for base, short in _SHORT:
            if path.startswith(base):
                return short + path.removeprefix(base)
        return path


def entries(routes: Iterable[BaseRoute]) -> list[Entry]:
    """Cloudflare's calls among these routes."""
    found = []
    for route in routes:
        if not isinstance(route, Route) or not route.path.startswith(CLOUDFLARE_PREFIX):
            continue
        if route.path == tail_sockets.PATH:  # of our own making
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            call = method, route.path
            state = MISSING if call in _ABSENT else PARTIAL if call in NOTES else FULL
            found.append(Entry(*call, state, _ABSENT.get(call) or NOTES.get(call, "")))
    return found


def page(routes: Iterable[BaseRoute]) -> str:
    """The page of documentation."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries(routes):
        rows.setdefault((entry.shown, entry.state, entry.note), []).append(entry.method)
    lines = [
        f"| `{' '.join(sorted(methods))} {path}` | {state} | {note} |\n"
        for (path, state, note), methods in sorted(rows.items())
    ]
    return _HEAD + "".join(lines) + _FOOT
