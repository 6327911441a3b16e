"""Custom domains, as wrangler asks for them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.model.claim import Claim
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio


def worker(account: str) -> str:
    return f"/client/v4/accounts/{account}/workers/scripts/acme"


def body(*hostnames: str) -> list[dict[str, Any]]:
    # what wrangler says of each
    return [{"hostname": hostname, "zone_name": "example"} for hostname in hostnames]


class Published:
    """Whether the tenant has published its proof."""

    def __init__(self) -> None:
        self.yes = False

    async def missing(self, hostname: str, claim: Claim) -> str:
        return "" if self.yes else "there is no TXT record"


async def test_the_operator_routes_at_once(control: Control, operator: httpx.AsyncClient) -> None:
    await operator.put(script_path("acme"), files=upload_parts())
    await operator.put("/v1/routes/b.example", json={"script": "acme-2"})
    base = f"{worker('platform')}/domains"
    both = body("a.example", "b.example")
    zones = (await operator.get("/client/v4/zones", params={"name": "a.example"})).json()
    assert [zone["id"] for zone in zones["result"]] == ["a.example"]
    assert (await operator.get("/client/v4/zones")).json()["result"] == []
    plan = await operator.post(f"{base}/changeset?replace_state=true", json=both)
    found = plan.json()["result"]
    assert [item["hostname"] for item in found["added"]] == ["a.example"]
    assert [(item["hostname"], item["modified"]) for item in found["updated"]] == [
        ("b.example", True)
    ]
    assert (found["removed"], found["conflicting"]) == ([], [])
    put = await operator.put(f"{base}/records", json={"override_scope": True, "origins": both})
    assert [item["service"] for item in put.json()["result"]] == ["acme", "acme"]
    assert (await operator.get("/v1/routes/b.example")).json()["script"] == "acme"
    crowd = body(*(f"h{number}.example" for number in range(51)))
    assert (await operator.post(f"{base}/changeset", json=crowd)).status_code == 400
    assert (await operator.put(f"{base}/records", json={"origins": crowd})).status_code == 400


async def test_a_tenant_is_told_what_to_publish(
    control: Control, operator: httpx.AsyncClient
) -> None:
    published = control.services.hostnames.proofs = Published()
    await operator.put(script_path("acme"), files=upload_parts())
    token = (await operator.post("/v1/tenants/acme/tokens")).json()["token"]
    records, wanted = f"{worker('acme')}/domains/records", {"origins": body("a.example")}
    async with control.client(token) as client:
        answer = await client.put(records, json=wanted)
        proof = (await client.get("/v1/routes/a.example")).json()["ownership_verification"]
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == 10016
        assert "there is no TXT record" in answer.text
        assert proof["name"] in answer.text
        assert proof["value"] in answer.text
        published.yes = True
        assert (await client.put(records, json=wanted)).json()["success"] is True
        assert (await client.get("/v1/routes/a.example")).json()["status"] == "active"


async def test_domains_as_the_sdks_know_them(control: Control, operator: httpx.AsyncClient) -> None:
    published = control.services.hostnames.proofs = Published()
    for name in ("acme", "acme-2", "beta"):
        await operator.put(script_path(name), files=upload_parts())
    token = (await operator.post("/v1/tenants/acme/tokens")).json()["token"]
    ours, mine = (
        f"/client/v4/accounts/{account}/workers/domains" for account in ("platform", "acme")
    )
    theirs = {"hostname": "beta.example", "service": "beta", "zone_id": "z"}
    assert (await operator.put(ours, json=theirs)).json()["result"]["id"] == "beta.example"
    wanted = {"hostname": "a.example", "service": "acme", "environment": "production"}
    async with control.client(token) as client:
        waits = await client.put(mine, json=wanted)
        assert (waits.status_code, "TXT record" in waits.text) == (400, True)
        published.yes = True
        assert (await client.put(mine, json=wanted)).json()["result"]["service"] == "acme"
        listed = (await client.get(mine)).json()["result"]
        assert [item["hostname"] for item in listed] == ["a.example"]
        assert (await client.get(mine, params={"service": "acme-2"})).json()["result"] == []
        assert (await client.get(f"{mine}/a.example")).json()["result"] == listed[0]
        for service in ("beta", "acme-none"):
            answer = await client.put(mine, json={"hostname": "c.example", "service": service})
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, 10007)
        for method in ("GET", "DELETE"):
            assert (await client.request(method, f"{mine}/beta.example")).status_code == 404
        assert (await client.delete(f"{mine}/a.example")).json()["success"] is True
        assert (await client.get(mine)).json()["result"] == []
    listed = (await operator.get(ours)).json()["result"]
    assert [item["hostname"] for item in listed] == ["beta.example"]


async def test_patterns_are_whole_hostnames(control: Control, operator: httpx.AsyncClient) -> None:
    await operator.put(script_path("acme"), files=upload_parts())
    path = f"{worker('platform')}/routes"
    given = [
        {"pattern": "a.example/*", "zone_name": "example"},
        {"pattern": "https://b.example/*", "zone_id": "z"},
    ]
    put = (await operator.put(path, json=given)).json()["result"]
    assert [item["pattern"] for item in put] == ["a.example/*", "b.example/*"]
    assert (await operator.get("/v1/routes/b.example")).json()["script"] == "acme"
    for pattern in ("c.example", "c.example/api/*", "*.example/*", "*/*", "c.example/", "/*"):
        answer = await operator.put(path, json=[{"pattern": "c.example/*"}, {"pattern": pattern}])
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 10016), pattern
        assert (await operator.get("/v1/routes/c.example")).status_code in (200, 404)
    missing = f"{worker('platform')}-none/routes"
    assert (await operator.put(missing, json=given)).status_code == 404
