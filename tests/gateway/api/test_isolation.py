"""Every path of the API with every id of another tenant's: refused as if there were none.

The paths come from the table of routes: one that is added is in here, with a body among those of
``test_audit_routes`` if it changes something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
from starlette.routing import Route

from gateway.accounts import Grant, Scope
from gateway.api import absent
from gateway.api.paths import ACCOUNT
from gateway.model.script import ScriptKey
from tests.gateway.api.test_audit_routes import STEPS
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

BODIES: Final = {(step.method, step.path): step.kwargs for step in STEPS}
NOTHING_HERE: Final = {path for path, *_ in absent.ABSENT}
NOTHING_HERE.update(f"{ACCOUNT}/{path}" for path in absent.EMPTY)
"""What answers everybody alike: there is no such thing on the platform."""
SHARED: Final = {"namespace", "tag", "zone"}
"""Parameters that are nobody's: namespaces are the operator's, tags belong to their script, and
whatever is asked for is a zone."""
ABSENT: Final = {
    "account": "gamma",
    "slug": "gamma",
    "name": "gamma-shop",
    "hostname": "gamma.example",
    "version": "6f0a3c55-0d3a-4f4e-8a39-0c7c9f1f6a10",
    "deployment": "6f0a3c55-0d3a-4f4e-8a39-0c7c9f1f6a11",
    "token": "6f0a3c550d3a4f4e8a390c7c9f1f6a12",
    "tail": "6f0a3c550d3a4f4e8a390c7c9f1f6a13",
    "secret": "GAMMA_KEY",
}


@dataclass
class Estate:
    """What one tenant has, by the parameter that names it."""

    slug: str
    ids: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def of(cls, control: Control, slug: str) -> Estate:
        """Give a tenant one of everything."""
        token = await control.tenant(slug)
        name, secret = f"{slug}-shop", f"{slug.upper()}_KEY"
        base = script_path(name, account=slug)
        async with control.client(token) as client:
            await client.put(base, files=upload_parts())
            await client.put(f"{base}/secrets", json={"name": secret, "text": "hush"})
            tail = (await client.post(f"{base}/tails")).json()["result"]["id"]
        async with control.client() as operator:
            routed = await operator.put(f"/v1/routes/{slug}.example", json={"script": name})
            assert routed.is_success
        key = ScriptKey("production", name)
        (stored, *_) = await control.store.list_tokens(slug)
        (version, *_) = await control.store.list_versions(key)
        (deployment, *_) = await control.store.list_deployments(key)
        ids = {
            "account": slug,
            "slug": slug,
            "name": name,
            "hostname": f"{slug}.example",
            "version": version.id,
            "deployment": deployment.id,
            "token": stored.id,
            "tail": tail,
            "secret": secret,
        }
        return cls(slug, ids)


def endpoints(control: Control) -> Iterator[tuple[str, str, set[str]]]:
    """Method, path and the parameters that name something of somebody's."""
    for route in control.app.routes:
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            yield method, route.path, set(route.param_convertors) - SHARED


def url_of(path: str, ids: Mapping[str, str]) -> str:
    return path.replace("{tag:path}", "a").format(
        **ids, namespace="production", zone="beta.example"
    )


def body_of(method: str, path: str) -> dict[str, Any]:
    given = BODIES.get((method, path), {})
    if given.get("json") == {"versions": "{versions}"}:
        return {"json": {"versions": [{"version_id": ABSENT["version"], "percentage": 100}]}}
    return given


async def told(client: httpx.AsyncClient, method: str, path: str, ids: dict[str, str]) -> Any:
    """What an answer says, whatever it was asked about."""
    answer = await client.request(method, url_of(path, ids), **body_of(method, path))
    text = answer.text
    for name, value in sorted(ids.items(), key=lambda item: -len(item[1])):
        text = re.sub(rf"\b{re.escape(value)}\b", f"<{name}>", text)
    return answer.status_code, text


async def test_what_is_anothers_is_as_if_it_were_not(control: Control) -> None:
    mine, theirs = await Estate.of(control, "acme"), await Estate.of(control, "beta")
    token = (await control.services.tokens.issue("acme", Grant(scope=Scope.ADMIN))).token
    asked, leaks = 0, []
    async with control.client(token) as client:
        for method, path, parameters in endpoints(control):
            for parameter in sorted(parameters):
                assert parameter in ABSENT, f"{path} has a new kind of id: {parameter}"
                foreign = await told(
                    client, method, path, mine.ids | {parameter: theirs.ids[parameter]}
                )
                missing = await told(
                    client, method, path, mine.ids | {parameter: ABSENT[parameter]}
                )
                asked += 1
                allowed = {403, 404}
                if path in NOTHING_HERE:
                    allowed = {foreign[0]}
                elif (method, path) == ("PUT", "/v1/routes/{hostname}"):
                    # anybody may ask for any name; it comes to nothing without a proof
                    allowed = {202}
                    foreign, missing = (foreign[0], ""), (missing[0], "")
                    for claimed in (theirs.ids, ABSENT):
                        assert (await client.delete(url_of(path, claimed))).is_success
                if foreign != missing or foreign[0] not in allowed:
                    leaks.append((method, path, parameter, foreign, missing))
    assert leaks == []
    assert asked > 150
    assert (await control.store.get_script(ScriptKey("production", "beta-shop"))) is not None
    assert len(await control.store.list_versions(ScriptKey("production", "beta-shop"))) == 2
    assert len(await control.store.list_tokens("beta")) == 1
    assert b"beta-shop" in (await control.store.get("hostname:beta.example") or b"")


async def test_to_a_token_for_one_script_the_others_are_alike(control: Control) -> None:
    mine = await Estate.of(control, "acme")
    async with control.client() as operator:
        await operator.put(script_path("acme-other"), files=upload_parts())
    grant = Grant(script="acme-shop")
    token = (await control.services.tokens.issue("acme", grant)).token
    leaks = []
    async with control.client(token) as client:
        for method, path, parameters in endpoints(control):
            if "name" not in parameters:
                continue
            other = await told(client, method, path, mine.ids | {"name": "acme-other"})
            missing = await told(client, method, path, mine.ids | {"name": "acme-none"})
            refused = other[0] == 403 or path in NOTHING_HERE
            if other != missing or not refused:
                leaks.append((method, path, other, missing))
    assert leaks == []
