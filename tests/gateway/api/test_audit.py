"""Every change is written down, with who, what, before and after; nothing removes it."""

from __future__ import annotations

import sqlite3
from typing import Any

import httpx
import pytest

from gateway.api.actions import ACTIONS
from gateway.api.trail import SAFE
from tests.support.control import NAMESPACES, Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

MINE = script_path("acme", account="acme")


async def entries(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def test_every_path_that_changes_something_has_a_name(control: Control) -> None:
    routes = {
        (method, getattr(route, "path", ""))
        for route in control.app.routes
        for method in set(getattr(route, "methods", None) or ()) - SAFE
    }
    absent = {(m, p) for m, p in routes if (m, p) not in ACTIONS}
    stems = ("routes", "domains/changeset", "assets-upload-session")
    products = ("storage/kv/namespaces", "d1/database", "r2/buckets", "queues")
    assert {path for _, path in absent if not path.endswith((*stems, *products))} == set()
    assert set(ACTIONS) <= routes


async def test_a_deploy_is_told_with_before_and_after(
    control: Control, operator: httpx.AsyncClient
) -> None:
    bearer = await control.tenant("acme")
    async with control.client(bearer) as client:
        for _ in range(2):
            assert (await client.put(MINE, files=upload_parts())).is_success
    second, first, *_ = await entries(operator)
    (stored,) = await control.store.list_tokens("acme")
    script = await control.store.get_script(control.launcher.launched[0][0].key)
    assert script is not None
    assert second["actor"] == stored.id
    assert second["actor_tenant"] == second["tenant"] == "acme"
    assert second["address"] == "127.0.0.1"
    assert (second["action"], second["target"]) == ("script.deploy", "production/acme")
    assert second["status"] == 200
    assert "before" not in first
    assert second["before"]["version"] == first["after"]["version"]
    assert second["after"]["version"] == script.version_id != first["after"]["version"]


async def test_secrets_are_named_and_never_shown(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await operator.put(script_path("acme"), files=upload_parts())
    planted = "planted-canary"
    await operator.put(script_path("acme") + "/secrets", json={"name": "KEY", "text": planted})
    body = {"secrets": {"A": {"text": planted}, "KEY": None}}
    await operator.patch(script_path("acme") + "/secrets-bulk", json=body)
    await operator.delete(script_path("acme") + "/secrets/A")
    found = await entries(operator)
    assert [(item["action"], item["detail"]["secrets"]) for item in found[:3]] == [
        ("secret.delete", ["A"]),
        ("secret.bulk", ["A", "KEY"]),
        ("secret.put", ["KEY"]),
    ]
    assert planted not in str(found)


async def test_tokens_and_tenants(control: Control, operator: httpx.AsyncClient) -> None:
    await operator.put("/v1/tenants/acme", json={"plan": "pro"})
    await operator.put("/v1/tenants/acme", json={"status": "suspended"})
    made = (await operator.post("/v1/tenants/acme/tokens", json={"label": "ci"})).json()
    await operator.delete(f"/v1/tenants/acme/tokens/{made['id']}")
    await operator.delete("/v1/tenants/acme")
    removed, revoked, created, suspended, added = await entries(operator, tenant="acme")
    assert added["action"] == suspended["action"] == "tenant.put"
    assert (suspended["before"]["status"], suspended["after"]["status"]) == ("active", "suspended")
    assert (created["action"], created["target"]) == ("token.create", f"acme/{made['id']}")
    assert (revoked["action"], revoked["before"]["label"]) == ("token.revoke", "ci")
    assert (removed["action"], removed["before"]["plan"]) == ("tenant.delete", "pro")
    assert made["token"] not in str(await entries(operator))


async def test_what_was_forbidden_is_told_and_mistakes_are_not(
    control: Control, operator: httpx.AsyncClient
) -> None:
    bearer = await control.tenant("acme")
    async with control.client(bearer) as client:
        assert (await client.put("/v1/tenants/acme")).status_code == 403
        assert (await client.put(MINE, content=b"nonsense")).status_code == 400
        assert (await client.get("/v1/plans")).status_code == 200
    (entry,) = await entries(operator)
    assert (entry["action"], entry["status"], entry["target"]) == ("tenant.put", 403, "acme")
    assert "after" not in entry


async def test_a_tenant_sees_its_own_since_it_exists(
    control: Control, operator: httpx.AsyncClient
) -> None:
    for slug in ("acme", "beta"):
        await operator.put(script_path(slug), files=upload_parts())
    await operator.delete("/v1/tenants/acme")
    await operator.put("/v1/tenants/acme")
    body = {"scope": "admin"}
    bearer = (await operator.post("/v1/tenants/acme/tokens", json=body)).json()["token"]
    async with control.client(bearer) as client:
        seen = await entries(client)
        assert {item["tenant"] for item in seen} == {"acme"}
        assert "script.deploy" not in {item["action"] for item in seen}
        assert (await client.get("/v1/audit?tenant=beta")).status_code == 403
        assert (await client.get("/v1/audit?tenant=none")).status_code == 403
    async with control.client(await control.tenant("beta")) as client:
        assert (await client.get("/v1/audit")).status_code == 403


async def test_pages(operator: httpx.AsyncClient) -> None:
    for number in range(5):
        await operator.put(f"/v1/tenants/t{number}")
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        answer = (await operator.get("/v1/audit", params=query)).json()
        seen += [item["target"] for item in answer["entries"]]
        if answer["before"] is None:
            break
        query["before"] = answer["before"]
    assert seen == ["t4", "t3", "t2", "t1", "t0"]
    assert [item["target"] for item in await entries(operator, target="t2")] == ["t2"]
    assert await entries(operator, action="token.create") == []
    assert (await operator.get("/v1/audit?before=x")).status_code == 400


async def test_the_log_cannot_be_changed(control: Control, operator: httpx.AsyncClient) -> None:
    await operator.put("/v1/tenants/acme")
    for sql in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            async with control.store._db.transaction() as connection:
                await connection.execute(sql)
    assert len(await entries(operator)) == 1


async def test_a_change_of_the_operator_on_a_tenants_account(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await operator.put("/v1/tenants/acme")
    await operator.put(MINE, files=upload_parts())
    await operator.post(NAMESPACES.format(account="platform"), json={"name": "staging"})
    await operator.put("/v1/routes/shop.example", json={"script": "acme"})
    route, namespace, deploy, _ = await entries(operator)
    assert (route["tenant"], route["after"]["script"]) == ("acme", "acme")
    assert (namespace["action"], namespace["status"]) == ("namespace.create", 200)
    assert (deploy["tenant"], deploy.get("actor_tenant")) == ("acme", None)
