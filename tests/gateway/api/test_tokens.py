"""What each kind of token may do, for how long, and that it is told what it may not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.accounts import Grant, Scope
from tests.support.control import NAMESPACES, Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

ACME = NAMESPACES.format(account="acme")
WORKERS = "/client/v4/accounts/acme/workers/scripts"
MINE = script_path("acme", account="acme")
DOES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "admin": ("POST", "/v1/tenants/acme/tokens", {"json": {"label": "x"}}),
    "deploy": ("PUT", MINE, {"files": upload_parts()}),
    "read": ("GET", MINE, {}),
    "tail": ("GET", "/v1/scripts/acme/tail", {}),
}
INCLUDES = {
    "admin": {"admin", "deploy", "read", "tail"},
    "deploy": {"deploy", "read", "tail"},
    "read": {"read"},
    "tail": {"tail"},
}


async def token(control: Control, **fields: Any) -> str:
    """A token of tenant acme, which has a script of that name."""
    async with control.client() as client:
        await client.put("/v1/tenants/acme")
        await client.put(script_path("acme"), files=upload_parts())
        made = await client.post("/v1/tenants/acme/tokens", json=fields)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


@pytest.mark.parametrize("deed", DOES)
@pytest.mark.parametrize("scope", INCLUDES)
async def test_a_scope_allows_what_it_includes(control: Control, scope: str, deed: str) -> None:
    method, path, more = DOES[deed]
    async with control.client(await token(control, scope=scope)) as client:
        answer = await client.request(method, path, **more)
        assert answer.is_success is (deed in INCLUDES[scope])
        if not answer.is_success:
            assert answer.status_code == 403
            assert f"scope {deed}" in answer.text
        assert (await client.get("/client/v4/user/tokens/verify")).status_code == 200


async def test_every_change_needs_more_than_read(control: Control) -> None:
    reader = await token(control, scope="read")
    tried = 0
    async with control.client(reader) as client:
        for route in control.app.routes:
            methods = set(getattr(route, "methods", None) or ()) - {"GET", "HEAD"}
            path = re.sub(r"\{(account|slug|name)\}", "acme", getattr(route, "path", ""))
            path = re.sub(r"\{\w+(:path)?\}", "production", path)
            for method in methods:
                answer = await client.request(method, path)
                assert answer.status_code == 403, (method, path, answer.text)
                tried += 1
    assert tried > 40


async def test_operators_tokens_have_scopes_too(
    control: Control, operator: httpx.AsyncClient
) -> None:
    made = await operator.post("/v1/tokens", json={"scope": "read", "label": "grafana"})
    assert made.json()["scope"] == "read"
    async with control.client(made.json()["token"]) as reader:
        assert (await reader.get("/v1/tenants")).status_code == 200
        assert (await reader.put("/v1/tenants/acme")).status_code == 403
        assert (await reader.get("/v1/tokens")).status_code == 403
    made = await operator.post("/v1/tokens", json={"scope": "deploy"})
    async with control.client(made.json()["token"]) as deployer:
        assert (await deployer.put(script_path("acme"), files=upload_parts())).is_success
        assert (await deployer.put("/v1/tenants/beta")).status_code == 403
        assert (await deployer.post("/v1/keys/rotate")).status_code == 403
        assert (await deployer.delete(f"{ACME}/production")).status_code == 403


async def test_a_token_for_one_script_touches_no_other(control: Control) -> None:
    bound = await token(control, script="acme-shop")
    async with control.client(bound) as client:
        own = script_path("acme-shop", account="acme")
        assert (await client.put(own, files=upload_parts())).is_success
        assert (await client.get(f"{WORKERS}/acme-shop")).is_success
        assert (await client.get("/client/v4/accounts/acme/workers/subdomain")).is_success
        assert (await client.get("/v1/scripts/acme-shop/tail")).is_success
        for method, path in [
            ("GET", MINE),
            ("GET", MINE + "/content"),
            ("DELETE", f"{WORKERS}/acme"),
            ("GET", f"{ACME}/production/scripts"),
            ("DELETE", f"{ACME}/production/scripts?tags=a:yes"),
            ("GET", WORKERS),
            ("GET", "/v1/scripts"),
            ("GET", "/v1/scripts/acme/tail"),
            ("GET", "/v1/tenants/acme/tail"),
            ("GET", "/v1/routes"),
            ("GET", "/v1/tenants"),
        ]:
            assert (await client.request(method, path)).status_code == 403, path


async def test_an_admin_manages_its_own_tenants_tokens_only(control: Control) -> None:
    admin = await token(control, scope="admin")
    await control.tenant("beta")
    async with control.client(admin) as client:
        made = (await client.post("/v1/tenants/acme/tokens", json={"scope": "admin"})).json()
        listed = (await client.get("/v1/tenants/acme/tokens")).json()["tokens"]
        assert made["id"] in [item["id"] for item in listed]
        path = f"/v1/tenants/acme/tokens/{made['id']}"
        assert (await client.delete(path)).status_code == 204
        for method in ("GET", "POST"):
            for path in ("/v1/tenants/beta/tokens", "/v1/tokens", "/v1/tenants/none/tokens"):
                assert (await client.request(method, path)).status_code == 403
        assert (await client.put("/v1/tenants/acme", json={"plan": "pro"})).status_code == 403


async def test_an_expired_token_is_worth_nothing(control: Control) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    bearer = await token(control, expires_on=soon.isoformat())
    async with control.client(bearer) as client:
        verified = (await client.get("/client/v4/user/tokens/verify")).json()["result"]
        assert verified["expires_on"][:10] == soon.isoformat()[:10]
        (stored,) = await control.store.list_tokens("acme")
        async with control.store._db.transaction() as connection:
            await connection.execute("UPDATE tokens SET expires_ms = 5 WHERE id = ?", (stored.id,))
        answer = await client.get("/client/v4/user/tokens/verify")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, 9109)


@pytest.mark.parametrize(
    "body",
    [
        {"expires_on": "2001-01-01T00:00:00Z"},
        {"expires_on": "2101-01-01T00:00:00"},
        {"expires_on": "soon"},
        {"scope": "root"},
        {"script": "beta"},
        {"script": "Acme"},
        {"script": "acme", "scope": "admin"},
        {"label": "x" * 101},
        {"surprise": 1},
    ],
)
async def test_senseless_tokens_are_refused(
    control: Control, operator: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    await control.tenant("acme")
    answer = await operator.post("/v1/tenants/acme/tokens", json=body)
    assert answer.status_code == 400, answer.text
    assert len(await control.store.list_tokens("acme")) == 1


async def test_a_rotated_token_has_another_secret(
    control: Control, operator: httpx.AsyncClient
) -> None:
    old = await token(control, label="ci")
    (stored,) = await control.store.list_tokens("acme")
    path = f"/v1/tenants/acme/tokens/{stored.id}/rotate"
    made = (await operator.post(path)).json()
    assert (made["id"], made["label"]) == (stored.id, "ci")
    for bearer, status in ((old, 403), (made["token"], 200)):
        async with control.client(bearer) as client:
            assert (await client.get("/v1/plans")).status_code == status
    assert (await operator.post(path.replace("acme", "beta"))).status_code == 404


async def test_the_operators_last_key_stays(control: Control, operator: httpx.AsyncClient) -> None:
    (only,) = (await operator.get("/v1/tokens")).json()["tokens"]
    await operator.post("/v1/tokens", json={"scope": "read"})
    refused = await operator.delete(f"/v1/tokens/{only['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "last_token")
    await operator.post("/v1/tokens")
    assert (await operator.delete(f"/v1/tokens/{only['id']}")).status_code == 204


async def test_the_last_use_is_told(control: Control, operator: httpx.AsyncClient) -> None:
    issued = await control.services.tokens.issue(None, Grant(scope=Scope.READ))
    fresh = (await operator.get("/v1/tokens")).json()["tokens"][1]
    assert (fresh["id"], fresh["last_used_on"]) == (issued.id, None)
    async with control.client(issued.token) as client:
        await client.get("/v1/plans")
    used = (await operator.get("/v1/tokens")).json()["tokens"][1]
    assert used["last_used_on"] >= used["created_on"]
