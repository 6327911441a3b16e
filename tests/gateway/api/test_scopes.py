"""Each kind of token at each path of the API: what it may, said here again and by hand.

The paths come from the table of routes, what is right comes from the documentation: a new path is
in here by itself, and has to fall under one of the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import httpx
import pytest
from starlette.routing import Route

from gateway.accounts import Grant, Scope
from gateway.api.openapi import OPEN
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

ANY: Final = frozenset(Scope)
CHANGE: Final = frozenset({Scope.ADMIN, Scope.DEPLOY})
READ: Final = CHANGE | {Scope.READ}
TAIL: Final = CHANGE | {Scope.TAIL}
ADMIN: Final = frozenset({Scope.ADMIN})
NONE: Final[frozenset[Scope]] = frozenset()


class Rule(NamedTuple):
    """Which scopes will do at some paths."""

    methods: str
    path: str
    operator: frozenset[Scope]
    tenant: frozenset[Scope]
    about: bool = False
    """A token for one script will do, although the path names none."""


RULES: Final = (
    Rule("GET", r"/client/v4/(user|user/tokens/verify|memberships|accounts)", ANY, ANY, True),
    Rule("GET", r"/client/v4/accounts/{account}(/tokens/verify)?", ANY, ANY, True),
    Rule("GET", r"/v1/(tenants/{slug}|scripts/{name})/tail", TAIL, TAIL),
    Rule("GET POST DELETE", r".*/{name}/tails(/{tail})?", TAIL, TAIL),
    Rule("GET", r"/v1/audit(/export)?", ADMIN, ADMIN),
    Rule("GET POST DELETE", r"/v1/tenants/{slug}/tokens.*", ADMIN, ADMIN),
    Rule("GET POST DELETE", r"/v1/tokens.*", ADMIN, NONE),
    Rule("GET", r"/v1/keys", READ, NONE),
    Rule("POST", r"/v1/(keys/rotate|routes/bulk)", ADMIN, NONE),
    Rule("PUT DELETE", r"/v1/tenants/{slug}", ADMIN, NONE),
    Rule("POST PUT DELETE", r".*/dispatch/namespaces(/{namespace})?", ADMIN, NONE),
    # what wrangler and the SDKs ask of an account before they deploy one script of it
    Rule("GET", r"/v1/plans|/client/v4/zones.*", READ, READ, True),
    Rule(
        "GET",
        r".*/dispatch/namespaces/{namespace}|.*/workers/(subdomain|account-settings)",
        READ,
        READ,
        True,
    ),
    Rule("GET", r".*/(durable_objects|kv)/namespaces|.*/by-consumer/{name}", READ, READ, True),
    Rule("GET", r".*", READ, READ),
    Rule("POST PUT PATCH DELETE", r".*", CHANGE, CHANGE),
)
"""The first that fits counts."""
NOBODYS: Final = {
    "slug": "acme",
    "version": "6f0a3c55-0d3a-4f4e-8a39-0c7c9f1f6a10",
    "deployment": "6f0a3c55-0d3a-4f4e-8a39-0c7c9f1f6a11",
    "namespace": "production",
    "hostname": "none.example",
    "zone": "none.example",
}
"""What the paths name: nothing is changed for good, whoever may do it."""


class Kind(NamedTuple):
    """A kind of token."""

    tenant: str | None
    scope: Scope
    script: str | None = None


KINDS: Final = [
    Kind(tenant, scope, script)
    for tenant in (None, "acme")
    for script in (None, "acme-shop")
    for scope in Scope
    if script is None or scope is not Scope.ADMIN  # which cannot be for one script
]


def calls(control: Control) -> Iterator[tuple[str, str, Rule]]:
    """Every method and path that needs a token, with its rule."""
    for route in control.app.routes:
        assert isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if route.path not in OPEN:
                yield method, route.path, rule_of(method, route.path)


def rule_of(method: str, path: str) -> Rule:
    return next(
        rule
        for rule in RULES
        if method in rule.methods.split() and re.fullmatch(rule.path, path) is not None
    )


def is_allowed(kind: Kind, rule: Rule, path: str, name: str) -> bool:
    if kind.scope not in (rule.operator if kind.tenant is None else rule.tenant):
        return False
    if kind.script is None or rule.about:
        return True
    return "{name}" in path and name == kind.script


def url_of(kind: Kind, path: str, name: str) -> str:
    given = {"account": kind.tenant or "platform", "name": name, **NOBODYS}
    if kind.tenant is None:
        given["slug"] = "nobody"  # the operator may remove whom it names
    return re.sub(r"\{(\w+)(:path)?\}", lambda match: given.get(match[1], "none"), path)


async def is_refused(client: httpx.AsyncClient, method: str, url: str) -> bool:
    """Whether the token is what is wrong: 403 with the one code that says so."""
    answer = await client.request(method, url)
    if answer.status_code != 403:
        assert answer.status_code < 500, (method, url, answer.text)
        return False
    said = answer.json()
    code = said["errors"][0]["code"] if "errors" in said else said["error"]["code"]
    assert code in (10015, "not_allowed"), (method, url, said)
    return True


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(str(part) for part in kind))
async def test_each_path(control: Control, kind: Kind) -> None:
    await control.tenant("acme")
    async with control.client() as operator:
        for name in ("acme-shop", "acme-other"):
            assert (await operator.put(script_path(name), files=upload_parts())).is_success
    grant = Grant(scope=kind.scope, script=kind.script)
    token = (await control.services.tokens.issue(kind.tenant, grant)).token
    wrong, tried = [], 0
    async with control.client(token) as client:
        for method, path, rule in calls(control):
            for name in ("acme-shop", "acme-other") if "{name}" in path else ("",):
                refused = await is_refused(client, method, url_of(kind, path, name))
                if refused is is_allowed(kind, rule, path, name):
                    wrong.append((method, path, name, "refused" if refused else "let through"))
                tried += 1
                if method == "DELETE" and not refused and name:
                    async with control.client() as operator:
                        await operator.put(script_path(name), files=upload_parts())
    assert wrong == []
    assert tried > 150


async def test_no_rule_is_idle(control: Control) -> None:
    assert {rule for _, _, rule in calls(control)} == set(RULES)
