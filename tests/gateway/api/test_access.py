"""Who may do what: every kind of caller against every kind of resource."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.model.script import TenantStatus
from tests.support.control import NAMESPACES, Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

ACME = NAMESPACES.format(account="acme")
PLATFORM = NAMESPACES.format(account="platform")


async def call(
    control: Control, token: str | None, method: str, path: str, **kwargs: Any
) -> tuple[int, Any]:
    async with control.client(token) as client:
        response = await client.request(method, path, **kwargs)
    is_json = response.headers.get("content-type") == "application/json"
    body = response.json() if is_json else {}
    if path.startswith("/client/v4"):
        return response.status_code, (body["errors"] or [{"code": None}])[0]["code"]
    return response.status_code, body.get("error", {}).get("code")


@pytest.mark.parametrize(
    "path", ["/v1/tenants", "/v1/routes", "/v1/plans", "/v1/scripts", "/v1/scripts/a/tail"]
)
async def test_ours_need_a_token(control: Control, path: str) -> None:
    assert await call(control, None, "GET", path) == (401, "unauthenticated")
    assert await call(control, "wp_wrong", "GET", path) == (403, "token_rejected")
    assert await call(control, "x" * 5000, "GET", path) == (403, "token_rejected")


@pytest.mark.parametrize("path", [PLATFORM, "/client/v4/user/tokens/verify", "/client/v4/accounts"])
async def test_cloudflares_need_a_token(control: Control, path: str) -> None:
    assert await call(control, None, "GET", path) == (401, 10000)
    assert await call(control, "wp_wrong", "GET", path) == (403, 9109)


async def test_other_schemes_do_not_count(control: Control) -> None:
    async with control.client(None) as client:
        basic = await client.get("/v1/plans", headers={"authorization": "Basic d3A6"})
        assert basic.status_code == 401
        assert basic.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "kwargs", "tenant", "operator"),
    [
        ("GET", "/v1/tenants", {}, 200, 200),
        ("GET", "/v1/tenants/acme", {}, 200, 200),
        ("GET", "/v1/tenants/beta", {}, 403, 200),
        ("GET", "/v1/tenants/none", {}, 403, 404),
        ("PUT", "/v1/tenants/acme", {"json": {"plan": "enterprise"}}, 403, 200),
        ("DELETE", "/v1/tenants/acme", {}, 403, 204),
        ("GET", "/v1/tenants/acme/tokens", {}, 403, 200),
        ("POST", "/v1/tenants/acme/tokens", {}, 403, 201),
        ("GET", "/v1/tenants/beta/tokens", {}, 403, 200),
        ("POST", "/v1/tenants/beta/tokens", {}, 403, 201),
        ("POST", "/v1/tenants/beta/tokens/none/rotate", {}, 403, 404),
        ("DELETE", "/v1/tenants/beta/tokens/none", {}, 403, 404),
        ("DELETE", "/v1/tenants/none/tokens/none", {}, 403, 404),
        ("GET", "/v1/tokens", {}, 403, 200),
        ("POST", "/v1/tokens", {}, 403, 201),
        ("POST", "/v1/tokens/none/rotate", {}, 403, 404),
        ("DELETE", "/v1/tokens/none", {}, 403, 404),
        ("GET", "/v1/audit", {}, 403, 200),
        ("GET", "/v1/audit?tenant=beta", {}, 403, 200),
        ("GET", "/v1/keys", {}, 403, 200),
        ("POST", "/v1/keys/rotate", {}, 403, 200),
        ("GET", "/v1/tenants/acme/tail", {}, 200, 200),
        ("GET", "/v1/tenants/beta/tail", {}, 403, 200),
        ("GET", "/v1/scripts/acme-x/tail", {}, 200, 200),
        ("GET", "/v1/scripts/beta/tail", {}, 403, 200),
        ("GET", "/v1/scripts/beta-none/tail", {}, 403, 200),
        ("PUT", "/v1/routes/a.example", {"json": {"script": "acme"}}, 202, 200),
        ("PUT", "/v1/routes/a.example", {"json": {"script": "beta"}}, 403, 200),
        ("PUT", "/v1/routes/beta.example", {"json": {"script": "acme"}}, 202, 200),
        ("PUT", "/v1/routes/beta.localhost", {"json": {"script": "acme"}}, 403, 200),
        ("PUT", "/v1/routes/new.localhost", {"json": {"script": "acme"}}, 403, 200),
        ("PUT", "/v1/routes/a.acme.localhost", {"json": {"script": "acme"}}, 403, 200),
        ("PUT", "/v1/routes/localhost", {"json": {"script": "acme"}}, 403, 200),
        ("PUT", "/v1/routes/acme-2.localhost", {"json": {"script": "acme"}}, 200, 200),
        ("GET", "/v1/routes/beta.example", {}, 404, 200),
        ("DELETE", "/v1/routes/beta.example", {}, 404, 204),
        ("POST", "/v1/routes/bulk", {"content": b""}, 403, 200),
        ("POST", PLATFORM, {"json": {"name": "staging"}}, 403, 200),
        ("POST", ACME, {"json": {"name": "staging"}}, 403, 200),
        ("DELETE", f"{ACME}/staging", {}, 403, 404),
        ("GET", PLATFORM, {}, 403, 200),
        ("GET", ACME, {}, 200, 200),
        ("GET", NAMESPACES.format(account="beta"), {}, 403, 200),
        ("GET", script_path("beta", account="acme"), {}, 404, 404),
        ("GET", script_path("beta", account="beta"), {}, 403, 200),
        ("GET", script_path("beta"), {}, 403, 200),
        ("GET", script_path("beta", account="acme") + "/content", {}, 404, 404),
        ("GET", script_path("beta", account="acme") + "/settings", {}, 404, 404),
        ("GET", script_path("beta", account="acme") + "/secrets", {}, 404, 404),
        ("PUT", script_path("beta", account="acme"), {"files": upload_parts()}, 403, 403),
        ("PUT", script_path("none", account="acme"), {"files": upload_parts()}, 403, 403),
        ("PUT", script_path("acme-2", account="acme"), {"files": upload_parts()}, 200, 200),
        ("DELETE", script_path("beta", account="acme"), {}, 404, 404),
        (
            "PUT",
            script_path("beta", account="acme") + "/secrets",
            {"json": {"name": "A", "text": "b"}},
            404,
            404,
        ),
    ],
)
async def test_matrix(
    control: Control, method: str, path: str, kwargs: dict[str, Any], tenant: int, operator: int
) -> None:
    acme = await control.tenant("acme")
    await control.tenant("beta")
    async with control.client() as client:
        assert (await client.put(script_path("beta"), files=upload_parts())).is_success
        route = await client.put("/v1/routes/beta.example", json={"script": "beta"})
        assert route.is_success
    assert (await call(control, acme, method, path, **kwargs))[0] == tenant
    async with control.client() as client:
        assert (await client.request(method, path, **kwargs)).status_code == operator


async def test_tenants_see_only_their_own(control: Control) -> None:
    acme = await control.tenant("acme")
    await control.tenant("beta")
    async with control.client() as client:
        for name in ("acme", "acme-2", "beta"):
            await client.put(script_path(name), files=upload_parts())
            await client.put(f"/v1/routes/{name}.example", json={"script": name})
    async with control.client(acme) as client:
        scripts = (await client.get(script_path("", account="acme").rstrip("/"))).json()["result"]
        assert [script["id"] for script in scripts] == ["acme", "acme-2"]
        ours = (await client.get("/v1/scripts")).json()["scripts"]
        assert [script["name"] for script in ours] == ["acme", "acme-2"]
        routes = (await client.get("/v1/routes")).json()["routes"]
        assert [route["hostname"] for route in routes] == ["acme-2.example", "acme.example"]
        tenants = (await client.get("/v1/tenants")).json()["tenants"]
        assert [tenant["slug"] for tenant in tenants] == ["acme"]
        accounts = (await client.get("/client/v4/accounts")).json()["result"]
        assert [account["id"] for account in accounts] == ["acme"]
        assert (await client.get("/client/v4/accounts?page=2")).json()["result"] == []
        namespace = (await client.get(f"{ACME}/production")).json()["result"]
        assert namespace["script_count"] == 0


async def test_suspended_tenants_may_look_but_not_change(control: Control) -> None:
    acme = await control.tenant("acme", status=TenantStatus.SUSPENDED)
    path = script_path("acme", account="acme")
    assert await call(control, acme, "PUT", path, files=upload_parts()) == (403, 10015)
    assert await call(control, acme, "GET", ACME) == (200, None)


async def test_revoked_token_is_worth_nothing(control: Control) -> None:
    await control.tenant("acme")
    async with control.client() as client:
        issued = (await client.post("/v1/tenants/acme/tokens", json={"label": "ci"})).json()
        assert issued["label"] == "ci"
        assert issued["token"].startswith("wp_")
        assert (await call(control, issued["token"], "GET", "/v1/plans"))[0] == 200
        listed = await client.get("/v1/tenants/acme/tokens")
        assert issued["token"] not in listed.text
        assert issued["id"] in [token["id"] for token in listed.json()["tokens"]]
        path = f"/v1/tenants/acme/tokens/{issued['id']}"
        assert (await client.delete(path)).status_code == 204
        assert (await client.delete(path)).status_code == 404
    assert await call(control, issued["token"], "GET", "/v1/plans") == (403, "token_rejected")


async def test_deleted_tenants_token_is_worth_nothing(control: Control) -> None:
    acme = await control.tenant("acme")
    async with control.client() as client:
        assert (await client.delete("/v1/tenants/acme")).status_code == 204
    assert "removed tenant acme" in control.events
    assert await call(control, acme, "GET", ACME) == (403, 9109)


async def test_unknown_account_of_the_operator(control: Control) -> None:
    async with control.client() as client:
        response = await client.get(NAMESPACES.format(account="Not.A.Slug"))
    assert (response.status_code, response.json()["errors"][0]["code"]) == (404, 7003)
