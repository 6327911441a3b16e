"""The control API described by itself: OpenAPI 3.1 at ``/openapi.json``, a page at ``/docs``.

Paths, methods, names of actions and what a token must be good for come from the routes; bodies from
the types that read them. So the description cannot run away from the code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from gateway import __version__
from gateway.api import (
    audit,
    domains,
    hostnames,
    namespaces,
    schedules,
    script_versions,
    secrets,
    tail_sockets,
    tenants,
    tokens,
    workers,
)
from gateway.api.faces import CLOUDFLARE_PREFIX, plain
from gateway.api.paths import ACCOUNT, NAMESPACES, SCRIPT, SCRIPTS, WORKER, WORKERS
from gateway.api.trail import SAFE

PATH: Final = "/openapi.json"
PAGE: Final = "/docs"
OPEN: Final = frozenset(
    {"/healthz", "/readyz", "/metrics", "/v1/tls/ask", tail_sockets.PATH, PATH, PAGE}
)
"""Paths that need no token."""
_CONVERTER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_BODIES: Final[dict[tuple[str, str], Any]] = {
    ("POST", NAMESPACES): namespaces.NewNamespace,
    ("PUT", f"{NAMESPACES}/{{namespace}}"): namespaces.NewNamespace,
    ("PATCH", f"{ACCOUNT}/workers/workers/{{name}}/versions/latest"): script_versions.NewSecrets,
    ("POST", f"{WORKER}/subdomain"): workers.SubdomainBody,
    ("PATCH", f"{WORKER}/script-settings"): dict[str, Any],
    ("PUT", "/v1/tenants/{slug}"): tenants.TenantBody,
    ("POST", tokens.TENANTS): tokens.TokenBody,
    ("POST", tokens.OURS): tokens.TokenBody,
    ("PUT", hostnames.ROUTE): hostnames.RouteBody,
    ("PUT", domains.DOMAINS): domains.NewDomain,
    ("PUT", domains.PATTERNS): list[domains.Pattern],
    ("POST", schedules.RUN): schedules.RunBody,
} | {
    (method, base + suffix): kind
    for base in (SCRIPT, WORKER)
    for method, suffix, kind in (
        ("PUT", "/secrets", secrets.NewSecret),
        ("PATCH", "/secrets-bulk", secrets.ManySecrets),
        ("POST", "/deployments", script_versions.NewDeployment),
        ("PATCH", "/settings", dict[str, Any]),
        ("PUT", "/tags", list[str]),
        ("PUT", "/schedules", list[schedules.NewSchedule]),
        ("POST", "/tails", tail_sockets.NewTail),
    )
}
_OPTIONAL: Final = frozenset(
    {
        tenants.TenantBody,
        tokens.TokenBody,
        workers.SubdomainBody,
        tail_sockets.NewTail,
        schedules.RunBody,
    }
)
_UPLOADS: Final = frozenset(
    (method, base + suffix)
    for base in (SCRIPT, WORKER)
    for method, suffix in (("PUT", ""), ("PUT", "/content"), ("POST", "/versions"))
)
_CODE: Final = frozenset({WORKER, f"{SCRIPT}/content", f"{WORKER}/content", f"{WORKER}/content/v2"})
"""GET answers the code itself."""
_STREAMS: Final = frozenset({"/v1/tenants/{slug}/tail", "/v1/scripts/{name}/tail"})
_PAGED: Final = ("page", "per_page")
_QUERIES: Final[dict[str, tuple[str, ...]]] = {
    "/v1/tenants": ("after", "limit"),
    "/v1/routes": ("prefix", "after", "limit"),
    "/v1/scripts": ("namespace", "cursor", "limit", "tags"),
    audit.PATH: (*audit.FILTERS, "before", "limit"),
    audit.EXPORT: ("format", *audit.FILTERS),
    "/v1/tls/ask": ("domain",),
    tail_sockets.PATH: ("secret",),
    SCRIPTS: ("tags", "cursor", "limit", *_PAGED),
    WORKERS: ("tags", "cursor", "limit", *_PAGED),
    NAMESPACES: _PAGED,
    domains.DOMAINS: ("service", "hostname"),
    f"{SCRIPT}/versions": _PAGED,
    f"{WORKER}/versions": _PAGED,
    f"{WORKER}/content/v2": ("version",),
    f"{CLOUDFLARE_PREFIX}/accounts": _PAGED,
    f"{CLOUDFLARE_PREFIX}/memberships": _PAGED,
}
_NUMBERS: Final = frozenset({"limit", "before", *_PAGED})
_EMPTY_ANSWERS: Final = frozenset(
    {
        ("DELETE", "/v1/tenants/{slug}"),
        ("DELETE", f"{tokens.TENANTS}/{{token}}"),
        ("DELETE", f"{tokens.OURS}/{{token}}"),
        ("DELETE", hostnames.ROUTE),
    }
)
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "fix")},
        }
    },
}
_FAULT: Final = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
_ENVELOPE: Final = {
    "type": "object",
    "required": ["success", "errors", "messages", "result"],
    "properties": {
        "success": {"type": "boolean"},
        "errors": {"type": "array", "items": _FAULT},
        "messages": {"type": "array", "items": _FAULT},
        "result": {},
        "result_info": {"type": "object"},
    },
}


def routes(described: Iterable[BaseRoute]) -> list[Route]:
    """The paths of this file, describing those given."""
    document = describe(described)
    page = _page(document)

    async def openapi(request: Request) -> Response:
        return plain(document)

    async def docs(request: Request) -> Response:
        headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page, headers=headers)

    return [Route(PATH, openapi, methods=["GET"]), Route(PAGE, docs, methods=["GET"])]


def describe(described: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    kinds = list({id(kind): kind for kind in _BODIES.values()}.values())
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    bodies = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        if not isinstance(route, Route):
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            shown = paths.setdefault(_CONVERTER.sub(r"{\1}", route.path), {})
            shown[method.lower()] = _operation(method, route, bodies)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waypost control API",
            "version": __version__,
            "description": "Cloudflare's paths below /client/v4, our own below /v1.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, "Envelope": _ENVELOPE, "Error": _ERROR},
        },
    }


def _operation(method: str, route: Route, bodies: dict[int, Any]) -> dict[str, Any]:
    path = route.path
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": _summary(method, route),
        "tags": ["Cloudflare" if path.startswith(CLOUDFLARE_PREFIX) else "Waypost"],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
              for name in _CONVERTER.findall(path)),
            *({"name": name, "in": "query", "schema": _query_type(name)}
              for name in _QUERIES.get(path, ())),
        ],
        "responses": _responses(method, path),
    }  # fmt: skip
    body = _body(method, path, bodies)
    if body is not None:
        operation["requestBody"] = body
    if path in OPEN:
        operation["security"] = []
    return operation


def _summary(method: str, route: Route) -> str:
    told = (route.endpoint.__doc__ or "").strip().partition("\n")[0]
    if told:
        return told
    return route.name if method not in SAFE else f"Read {route.path.rpartition('/')[2]}"


def _query_type(name: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1} if name in _NUMBERS else {"type": "string"}


def _body(method: str, path: str, bodies: dict[int, Any]) -> dict[str, Any] | None:
    if (method, path) in _UPLOADS:
        parts = {"type": "object", "properties": {"metadata": {"type": "string"}}}
        return {"required": True, "content": {"multipart/form-data": {"schema": parts}}}
    kind = _BODIES.get((method, path))
    if kind is None:
        return None
    required = kind not in _OPTIONAL if isinstance(kind, type) else True
    return {"required": required, "content": {"application/json": {"schema": bodies[id(kind)]}}}


def _responses(method: str, path: str) -> dict[str, Any]:
    cloudflares = path.startswith(CLOUDFLARE_PREFIX)
    envelope = {"$ref": "#/components/schemas/Envelope"}
    failed = envelope if cloudflares else {"$ref": "#/components/schemas/Error"}
    error = {"description": "What is wrong.", "content": {"application/json": {"schema": failed}}}
    found: dict[str, Any]
    if (method, path) in _EMPTY_ANSWERS:
        found = {"204": {"description": "Done."}}
    else:
        done = {"description": "Done.", "content": _content(method, path, envelope)}
        found = {"200": done}
        if path.startswith("/v1/ten") or path.startswith("/v1/tokens"):
            found["201"] = done
        if method != "GET" and path.startswith("/v1/routes/{hostname}"):
            found["202"] = {**done, "description": "It waits to be verified."}
    unready = {"503": found["200"]} if path == "/readyz" else {"503": error}
    return {**found, "4XX": error, **unready}


def _content(method: str, path: str, envelope: dict[str, Any]) -> dict[str, Any]:
    if method == "GET" and path in _CODE:
        return {"*/*": {}}
    if path in _STREAMS:
        return {"text/event-stream": {}}
    if path == audit.EXPORT:
        return {"application/x-ndjson": {}, "text/csv": {}}
    if path == "/metrics":
        return {"text/plain": {}}
    if path == PAGE:
        return {"text/html": {}}
    schema = envelope if path.startswith(CLOUDFLARE_PREFIX) else {"type": "object"}
    return {"application/json": {"schema": schema}}


def _page(document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{method.upper()}<td><code>{html.escape(path)}</code>"
        f"<td>{html.escape(operation['summary'])}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    style = "body{font:15px sans-serif;margin:2em}td{padding:.2em 1em .2em 0;vertical-align:top}"
    title = html.escape(f"{document['info']['title']} {document['info']['version']}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{style}</style><h1>{title}</h1><p>For programs: <a href={PATH}>{PATH}</a>."
        f" Every path but the health ones needs <code>Authorization: Bearer</code>.<table>{rows}"
        "</table></html>"
    )
