"""Tenants, plans, routes, metrics and health; the shapes of errors."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from gateway.model.script import ScriptKey
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio


async def test_tenant_life(control: Control, operator: httpx.AsyncClient) -> None:
    created = await operator.put("/v1/tenants/acme", json={"plan": "pro", "status": "active"})
    assert created.status_code == 201
    assert {**created.json(), "created_on": ""} == {
        "slug": "acme",
        "plan": "pro",
        "status": "active",
        "name": "",
        "created_on": "",
    }
    assert await control.store.get("plan:acme") == b"pro"
    changed = await operator.put("/v1/tenants/acme", json={"status": "suspended", "name": "Acme"})
    assert changed.status_code == 200
    assert changed.json()["plan"] == "pro"
    assert changed.json()["status"] == "suspended"
    assert control.events == ["tenant acme", "tenant acme"]
    assert (await operator.get("/v1/tenants/acme")).json() == changed.json()
    bare = await operator.put("/v1/tenants/beta")
    assert bare.json()["plan"] == "free"
    page = (await operator.get("/v1/tenants?limit=1")).json()
    assert [tenant["slug"] for tenant in page["tenants"]] == ["acme"]
    page = (await operator.get("/v1/tenants", params={"after": page["after"]})).json()
    assert [tenant["slug"] for tenant in page["tenants"]] == ["beta"]
    assert page["after"] == ""
    assert (await operator.delete("/v1/tenants/acme")).status_code == 204
    assert (await operator.get("/v1/tenants/acme")).status_code == 404


@pytest.mark.parametrize(
    ("slug", "body", "code"),
    [
        ("acme", b'{"plan":"gold"}', "unknown_plan"),
        ("acme", b'{"status":"gone"}', "bad_body"),
        ("acme", b'{"color":"red"}', "bad_body"),
        ("acme", b"[" * 10_000, "bad_body"),
        ("acme", b"\xff", "bad_body"),
        ("platform", b"{}", "bad_slug"),
        ("www", b"{}", "bad_slug"),
        ("a--b", b"{}", "bad_slug"),
        ("a" * 41, b"{}", "bad_slug"),
    ],
)
async def test_bad_tenants(operator: httpx.AsyncClient, slug: str, body: bytes, code: str) -> None:
    response = await operator.put(f"/v1/tenants/{slug}", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


async def test_plans(operator: httpx.AsyncClient) -> None:
    body = (await operator.get("/v1/plans")).json()
    assert body["default"] == "free"
    assert body["plans"]["pro"]["cpu_ms"] == 20


async def test_route_life(control: Control, operator: httpx.AsyncClient) -> None:
    put = await operator.put("/v1/routes/Shop.Example.", json={"script": "acme"})
    expected = {
        "hostname": "shop.example",
        "script": "acme",
        "namespace": "production",
        "tenant": "acme",
        "status": "active",
    }
    assert put.json() == expected
    record = await control.store.get("hostname:shop.example")
    assert record is not None
    assert msgspec.json.decode(record) == {
        "workerName": "acme",
        "namespace": "production",
        "tenant": "acme",
    }
    assert control.events == ["tenant acme", "hostname shop.example"]
    assert (await operator.get("/v1/routes/SHOP.example")).json() == expected
    await operator.put("/v1/routes/b%C3%BCcher.example", json={"script": "acme-2"})
    page = (await operator.get("/v1/routes?limit=1")).json()
    assert [route["hostname"] for route in page["routes"]] == ["shop.example"]
    page = (await operator.get("/v1/routes", params={"after": page["after"]})).json()
    assert [route["hostname"] for route in page["routes"]] == ["xn--bcher-kva.example"]
    page = (await operator.get("/v1/routes?prefix=xn--")).json()
    assert len(page["routes"]) == 1
    assert (await operator.delete("/v1/routes/shop.example")).status_code == 204
    assert control.events[-1] == "hostname shop.example"
    assert (await operator.get("/v1/routes/shop.example")).status_code == 404
    assert (await operator.delete("/v1/routes/shop.example")).status_code == 404


@pytest.mark.parametrize(
    ("hostname", "body", "code"),
    [
        ("a.example:80", {"script": "acme"}, "bad_hostname"),
        ("www.localhost", {"script": "acme"}, "bad_hostname"),
        ("x.www.localhost", {"script": "acme"}, "bad_hostname"),
        ("127.0.0.1", {"script": "acme"}, "bad_hostname"),
        ("*.example.com", {"script": "acme"}, "bad_hostname"),
        ("a..example", {"script": "acme"}, "bad_hostname"),
        ("-a.example", {"script": "acme"}, "bad_hostname"),
        (".".join(["a" * 60] * 5), {"script": "acme"}, "bad_hostname"),
        ("a.example", {"script": "Acme!"}, "bad_name"),
        ("a.example", {"script": "acme", "namespace": "nowhere"}, "namespace_not_found"),
        ("a.example", {"worker": "acme"}, "bad_body"),
    ],
)
async def test_bad_routes(
    operator: httpx.AsyncClient, hostname: str, body: dict[str, Any], code: str
) -> None:
    response = await operator.put(f"/v1/routes/{hostname}", json=body)
    assert response.json()["error"]["code"] == code


async def test_bulk_routes(control: Control, operator: httpx.AsyncClient) -> None:
    lines = [
        msgspec.json.encode({"hostname": f"h{number}.example", "script": f"t{number % 3}-x"})
        for number in range(5000)
    ]
    response = await operator.post("/v1/routes/bulk", content=b"\n\n".join(lines))
    assert response.json() == {"routes": 5000, "tenants_created": 3}
    assert control.events[-1] == "everything"
    assert (await operator.get("/v1/routes/h4999.example")).json()["tenant"] == "t1"


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (b'{"hostname":"www.localhost","script":"acme"}', "reserved"),
        (b'{"hostname":"a.example"}', "script"),
        (b"not json", "JSON"),
        (b'{"hostname":"a.example","script":"acme","namespace":"none"}', "namespace"),
        (b'{"hostname":"' + b"a" * 9000, "longer"),
    ],
)
async def test_bulk_with_a_bad_line_stores_nothing(
    operator: httpx.AsyncClient, second: bytes, why: str
) -> None:
    first = b'{"hostname":"ok.example","script":"acme"}'
    response = await operator.post("/v1/routes/bulk", content=first + b"\n" + second)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("line 2: ")
    assert why in response.json()["error"]["message"]
    assert (await operator.get("/v1/routes")).json()["routes"] == []
    assert (await operator.get("/v1/tenants")).json()["tenants"] == []


async def test_scripts_inventory(operator: httpx.AsyncClient) -> None:
    await operator.put(script_path("acme-x"), files=upload_parts({"limits": {"cpu_ms": 3}}))
    script = (await operator.get("/v1/scripts")).json()["scripts"][0]
    assert script["name"] == "acme-x"
    assert script["tenant"] == "acme"
    assert script["limits"] == {"cpu_ms": 3}
    assert script["urls"] == ["http://acme-x.localhost:8787"]
    assert (await operator.get("/v1/scripts?namespace=none")).status_code == 404


async def test_metrics_and_health_are_open(control: Control) -> None:
    async with control.client(None) as client:
        metrics = await client.get("/metrics")
        assert metrics.text == "# metrics\n"
        assert metrics.headers["content-type"].startswith("text/plain")
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "level": "full"})
        control.ready = False
        assert (await client.get("/readyz")).status_code == 503


async def test_namespaces(operator: httpx.AsyncClient) -> None:
    path = script_path("").removesuffix("/production/scripts/")
    created = (await operator.post(path, content=b'{"name":"staging"}')).json()["result"]
    assert created["namespace_name"] == "staging"
    assert (await operator.post(path, json={"name": "staging"})).status_code == 409
    bad = await operator.post(path, json={"name": "No Good"})
    assert (bad.status_code, bad.json()["errors"][0]["code"]) == (400, 10016)
    listed = (await operator.get(path)).json()
    assert [item["namespace_name"] for item in listed["result"]] == ["production", "staging"]
    assert listed["result_info"]["total_count"] == 2
    assert (await operator.get(path, params={"page": "2"})).json()["result"] == []
    await operator.put(script_path("hello", namespace="staging"), files=upload_parts())
    got = (await operator.get(f"{path}/staging")).json()["result"]
    assert got["script_count"] == 1
    assert (await operator.delete(f"{path}/staging")).status_code == 409
    await operator.delete(script_path("hello", namespace="staging"))
    assert (await operator.delete(f"{path}/staging")).json()["result"] is None
    missing = await operator.get(f"{path}/staging")
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, 100119)
    assert (await operator.delete(f"{path}/production")).status_code == 409


async def test_token_verify(operator: httpx.AsyncClient) -> None:
    result = (await operator.get("/client/v4/user/tokens/verify")).json()["result"]
    assert result["status"] == "active"
    assert (await operator.get("/client/v4/accounts")).json()["result"][0]["id"] == "platform"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/healthz", 405), ("PATCH", "/v1/tenants/a", 405)],
)
async def test_error_shape_of_ours(
    operator: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await operator.request(method, path)
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert {"code", "message"} <= set(response.json()["error"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/client/v4/nowhere", 404, 7003),
        ("GET", "/client/v4/accounts/platform/workers/nothing", 404, 7003),
        ("PATCH", "/client/v4/accounts", 405, 10405),
    ],
)
async def test_error_shape_of_cloudflares(
    operator: httpx.AsyncClient, method: str, path: str, status: int, code: int
) -> None:
    response = await operator.request(method, path)
    body = response.json()
    assert response.status_code == status
    assert body["success"] is False
    assert body["result"] is None
    assert body["messages"] == []
    assert body["errors"][0]["code"] == code


async def test_upload_without_metadata_or_multipart(operator: httpx.AsyncClient) -> None:
    path = script_path("hello")
    parts = upload_parts()
    del parts["metadata"]
    for response in (
        await operator.put(path, files=parts),
        await operator.put(path, content=b"x = 1"),
        await operator.put(path),
    ):
        assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 10026)


async def test_json_bodies_are_capped(operator: httpx.AsyncClient) -> None:
    response = await operator.put("/v1/tenants/acme", content=b" " * ((1 << 20) + 1))
    assert response.status_code == 413


async def test_npm_7_upload_in_full(control: Control, operator: httpx.AsyncClient) -> None:
    boundary = "X" * 20
    fields = {
        "metadata[main_module]": "entry.py",
        "metadata[limits][cpu_ms]": "5",
        "metadata[bindings][][name]": "A",
        "metadata[bindings][][type]": "plain_text",
        "metadata[bindings][][text]": "5",
    }
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="files[]"; filename="entry.py"\r\n'
        f"Content-Type: text/x-python\r\n\r\nx = 1\r\n--{boundary}--\r\n"
    )
    response = await operator.put(
        script_path("hello"),
        content="".join(parts),
        headers={"content-type": "application/javascript"},
    )
    assert response.status_code == 200, response.text
    script = await control.store.get_script(ScriptKey("production", "hello"))
    assert script is not None
    assert script.limits == {"cpu_ms": 5}
    version = await control.store.get_version(script.version_id)
    assert version is not None
    assert version.bindings[0].value == "5"
