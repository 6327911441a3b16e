"""Custom domains, as wrangler and the SDKs know them: hostnames that lead to a script."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.endpoint import MAX_PAGE, Call, endpoint
from gateway.api.errors import BadBody
from gateway.api.faces import CLOUDFLARE_PREFIX, envelope
from gateway.api.paths import ACCOUNT, WORKER
from gateway.api.services import Services
from gateway.catalog import RoutedHostname
from gateway.catalog.errors import BadHostname, HostnameMissing, HostnameWaits
from gateway.catalog.hostnames import MAX_HOSTNAME
from gateway.model.claim import TXT_NAME
from gateway.model.script import ScriptKey

DOMAINS: Final = f"{ACCOUNT}/workers/domains"
DOMAIN: Final = f"{DOMAINS}/{{hostname}}"
"""A domain's id is its hostname."""
CHANGESET: Final = f"{WORKER}/domains/changeset"
RECORDS: Final = f"{WORKER}/domains/records"
PATTERNS: Final = f"{WORKER}/routes"
ZONES: Final = f"{CLOUDFLARE_PREFIX}/zones"
ZONE_ROUTES: Final = f"{ZONES}/{{zone}}/workers/routes"
MAX_DOMAINS: Final = 50
"""In one request."""


class Origin(msgspec.Struct):
    """One hostname; what else clients say of it means nothing here."""

    hostname: str


class NewDomain(msgspec.Struct):
    """Body of an SDK's PUT; zone and environment mean nothing here."""

    hostname: str
    service: str


class Pattern(msgspec.Struct):
    """One route; its zone means nothing here."""

    pattern: str


class Records(msgspec.Struct):
    """Body of a PUT."""

    origins: list[Origin]


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, ZONES, "GET", _zones, about_account=True),
        endpoint(services, ZONE_ROUTES, "GET", _no_routes, about_account=True),
        endpoint(services, DOMAINS, "GET", _list),
        endpoint(services, DOMAINS, "PUT", _attach),
        endpoint(services, DOMAIN, "GET", _get),
        endpoint(services, DOMAIN, "DELETE", _detach),
        endpoint(services, PATTERNS, "PUT", _put_patterns),
        endpoint(services, CHANGESET, "POST", _plan),
        endpoint(services, RECORDS, "PUT", _put),
    ]


async def _zones(call: Call) -> Response:
    """Clients look for the zone of a hostname first; here every name is one of its own."""
    name = call.query("name").lower()[:253]
    found = [{"id": name, "name": name, "status": "active"}] if name else []
    page, size = call.count("page", 1, most=10**6), call.count("per_page", 20)
    shown = found if page == 1 else []
    info = {"page": page, "per_page": size, "count": len(shown), "total_count": len(found)}
    return envelope(shown, info=info)


async def _no_routes(call: Call) -> Response:
    """Clients look for patterns that are another Worker's; there are no patterns here."""
    return envelope([])


async def _list(call: Call) -> Response:
    """List the hostnames of an account, of one ``service`` or ``hostname`` where that is said."""
    found = await call.services.hostnames.list(scope=call.account_scope, limit=MAX_PAGE)
    wanted = {name: call.query(name) for name in ("service", "hostname") if call.query(name)}
    shown = [_shown(routed) for routed in found]
    return envelope([item for item in shown if wanted.items() <= item.items()])


async def _attach(call: Call) -> Response:
    """Lead a hostname to a script; one that a tenant has still to verify is said, as an error."""
    body = await read_json(call.request, NewDomain)
    key = ScriptKey(call.services.config.default_namespace, body.service)
    call.trail.detail["hostname"] = body.hostname[:MAX_HOSTNAME]
    await call.services.scripts.get(key, scope=call.account_scope)
    (routed,) = await _lead(call, [Origin(body.hostname)], key)
    return envelope(_shown(routed))


async def _get(call: Call) -> Response:
    found = await call.services.hostnames.get(call.path("hostname"), scope=call.account_scope)
    return envelope(_shown(found))


async def _detach(call: Call) -> Response:
    """Lead a hostname nowhere any more."""
    await call.services.hostnames.delete(call.path("hostname"), scope=call.account_scope)
    return envelope(None)


async def _plan(call: Call) -> Response:
    """Tell what a PUT of these hostnames would do; hostnames that are left out stay."""
    await call.services.scripts.get(call.script_key, scope=call.account_scope)
    added: list[dict[str, Any]] = []
    updated: list[dict[str, Any]] = []
    for origin in _few(await read_json(call.request, list[Origin])):
        try:
            found = await call.services.hostnames.get(origin.hostname, scope=call.scope)
        except HostnameMissing:
            added.append({"hostname": origin.hostname})
            continue
        elsewhere = found.record.worker_name != call.path("name")
        updated.append({**_shown(found), "modified": elsewhere})
    return envelope({"added": added, "removed": [], "updated": updated, "conflicting": []})


async def _put(call: Call) -> Response:
    """Lead hostnames to the script; one that a tenant has still to verify is said, as an error."""
    await call.services.scripts.get(call.script_key, scope=call.account_scope)
    body = await read_json(call.request, Records)
    routed = await _lead(call, _few(body.origins), call.script_key)
    return envelope([_shown(found) for found in routed])


async def _put_patterns(call: Call) -> Response:
    """Lead hostnames to the script, given as the pattern of all of their paths."""
    await call.services.scripts.get(call.script_key, scope=call.account_scope)
    given = await read_json(call.request, list[Pattern])
    origins = _few([Origin(_whole(item.pattern)) for item in given])
    routed = await _lead(call, origins, call.script_key)
    script = call.path("name")
    return envelope([{"pattern": f"{found.hostname}/*", "script": script} for found in routed])


def _whole(pattern: str) -> str:
    """The hostname that a pattern takes all of. Raises BadHostname for any other."""
    _, _, rest = pattern.rpartition("://")
    hostname, slash, path = rest.partition("/")
    if not slash or path != "*" or "*" in hostname:
        raise BadHostname(
            f"pattern {pattern[:80]!r} cannot be routed: a script has all of a hostname",
            fix="write shop.example.com/*, and look at the path in the code",
        )
    return hostname


async def _lead(call: Call, origins: list[Origin], key: ScriptKey) -> list[RoutedHostname]:
    """Route them all. Raises HostnameWaits when one is not in force."""
    hostnames, routed = call.services.hostnames, []
    for origin in origins:
        found = await hostnames.put(origin.hostname, key.name, key.namespace, scope=call.scope)
        if found.claim is not None:
            # It may have been published since the last deploy.
            found = await hostnames.verify(found.hostname, scope=call.scope)
        routed.append(found)
    for found in routed:
        if found.claim is not None:
            raise HostnameWaits(
                f"{found.hostname} waits until it is shown to be yours: {found.problem}",
                fix=f"publish a TXT record {TXT_NAME}.{found.hostname} with the text"
                f" {found.claim.proof}, or as GET /v1/routes/{found.hostname} says; then deploy"
                " again",
            )
    return routed


def _few(origins: list[Origin]) -> list[Origin]:
    if len(origins) > MAX_DOMAINS:
        raise BadBody(f"more than {MAX_DOMAINS} hostnames in one request", fix="send fewer")
    return origins


def _shown(routed: RoutedHostname) -> dict[str, Any]:
    return {
        "id": routed.hostname,
        "hostname": routed.hostname,
        "service": routed.record.worker_name,
        "environment": "production",
        "enabled": routed.claim is None,
        "previews_enabled": False,
    }
