"""A tenant's custom hostname waits until the tenant has shown that it is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.catalog import ownership
from gateway.config import Config, HostnameRules, Routing
from gateway.model.audit import AuditQuery
from gateway.model.claim import Claim
from tests.support.control import OPERATOR, Control, control_plane

pytestmark = pytest.mark.anyio

HOST = "/v1/routes/shop.example"


class Published:
    """What the outside world says."""

    def __init__(self) -> None:
        self.proofs: set[str] = set()
        self.asked: list[str] = []

    async def missing(self, hostname: str, claim: Claim) -> str:
        self.asked.append(hostname)
        return "" if claim.proof in self.proofs else "nothing is published"


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    config = Config(routing=Routing(functions_domain="fn.example.com"))
    async with control_plane(tmp_path, config) as control:
        control.services.hostnames.proofs = Published()
        yield control


@pytest.fixture
def world(control: Control) -> Published:
    proofs = control.services.hostnames.proofs
    assert isinstance(proofs, Published)
    return proofs


async def ask(
    control: Control, token: str, method: str, path: str = HOST, script: str = ""
) -> httpx.Response:
    async with control.client(token) as client:
        body: dict[str, Any] = {"json": {"script": script}} if script else {}
        return await client.request(method, path, **body)


async def test_a_claim_serves_nothing_until_it_is_shown(control: Control, world: Published) -> None:
    acme = await control.tenant("acme")
    answer = await ask(control, acme, "PUT", script="acme-shop")
    claimed = answer.json()
    assert (answer.status_code, claimed["status"]) == (202, "pending")
    assert await control.store.get("hostname:shop.example") is None
    wanted = claimed["ownership_verification"]
    assert (wanted["type"], wanted["name"]) == ("txt", "_cf-custom-hostname.shop.example")
    file = claimed["ownership_verification_http"]
    assert file["http_url"].startswith(
        "http://shop.example/.well-known/cf-custom-hostname-challenge/"
    )
    assert file["http_body"] == wanted["value"]
    answer = await ask(control, acme, "POST", f"{HOST}/verify")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.json()["verification_errors"] == ["nothing is published"]
    assert (await ask(control, acme, "GET")).json() == claimed
    (listed,) = (await ask(control, acme, "GET", "/v1/routes?status=pending")).json()["routes"]
    assert listed == claimed
    assert (await ask(control, acme, "GET", "/v1/routes")).json()["routes"] == []

    world.proofs.add(wanted["value"])
    answer = await ask(control, acme, "POST", f"{HOST}/verify")
    assert (answer.status_code, answer.json()["status"]) == (200, "active")
    assert control.events[-1] == "hostname shop.example"
    assert await control.store.get("hostname:shop.example") is not None
    assert await control.store.list("claim:") == []
    actions = [entry.action for entry in await control.store.list_audit(AuditQuery(tenant="acme"))]
    assert actions == ["route.verify", "route.verify", "route.put"]
    # what is a tenant's own is not asked for again
    asked = len(world.asked)
    assert (await ask(control, acme, "PUT", script="acme-other")).status_code == 200
    assert (await ask(control, acme, "POST", f"{HOST}/verify")).json()["script"] == "acme-other"
    assert len(world.asked) == asked


async def test_claims_keep_nobody_out(control: Control, world: Published) -> None:
    acme, beta = await control.tenant("acme"), await control.tenant("beta")
    first = (await ask(control, acme, "PUT", script="acme")).json()
    second = (await ask(control, beta, "PUT", script="beta")).json()
    proofs = [item["ownership_verification"]["value"] for item in (first, second)]
    assert len(set(proofs)) == 2
    # the first one's proof is worth nothing to the second
    world.proofs.add(proofs[0])
    assert (await ask(control, beta, "POST", f"{HOST}/verify")).status_code == 202
    world.proofs = {proofs[1]}
    assert (await ask(control, beta, "POST", f"{HOST}/verify")).status_code == 200
    world.proofs.add(proofs[0])
    late = await ask(control, acme, "POST", f"{HOST}/verify")
    assert (late.status_code, late.json()["error"]["code"]) == (403, "hostname_not_available")
    assert (await ask(control, OPERATOR, "GET")).json()["tenant"] == "beta"
    assert (await ask(control, acme, "DELETE")).status_code == 204
    assert (await ask(control, OPERATOR, "GET")).json()["tenant"] == "beta"


async def test_what_is_asked_for_again_keeps_its_proof(control: Control) -> None:
    acme = await control.tenant("acme")
    first = (await ask(control, acme, "PUT", script="acme")).json()
    second = (await ask(control, acme, "PUT", script="acme-2")).json()
    assert second["script"] == "acme-2"
    assert first["ownership_verification"] == second["ownership_verification"]
    assert (await ask(control, acme, "DELETE")).status_code == 204
    assert (await ask(control, acme, "GET")).status_code == 404
    assert (await ask(control, acme, "POST", f"{HOST}/verify")).status_code == 404


async def test_the_operators_word_is_enough(control: Control, world: Published) -> None:
    acme = await control.tenant("acme")
    await ask(control, acme, "PUT", script="acme")
    waiting = (await ask(control, OPERATOR, "GET", "/v1/routes?status=pending")).json()["routes"]
    assert [(item["hostname"], item["tenant"]) for item in waiting] == [("shop.example", "acme")]
    assert (await ask(control, OPERATOR, "PUT", script="acme")).status_code == 200
    assert (await ask(control, acme, "GET")).json()["status"] == "active"
    assert await control.store.list("claim:") == []
    assert world.asked == []


@pytest.mark.parametrize(
    ("hostname", "status"),
    [
        ("acme-2.localhost", 200),
        ("beta.localhost", 403),
        ("localhost", 403),
        ("a.acme.localhost", 403),
        ("fn.example.com", 400),
        ("acme.fn.example.com", 403),
        ("www.localhost", 400),
    ],
)
async def test_the_platforms_own_names_cannot_be_claimed(
    control: Control, world: Published, hostname: str, status: int
) -> None:
    acme = await control.tenant("acme")
    answer = await ask(control, acme, "PUT", f"/v1/routes/{hostname}", script="acme")
    assert answer.status_code == status
    assert await control.store.list("claim:") == []
    assert world.asked == []


async def test_claims_are_few_and_end(
    control: Control, monkeypatch: pytest.MonkeyPatch, world: Published
) -> None:
    monkeypatch.setattr(ownership, "MAX_CLAIMS", 2)
    acme = await control.tenant("acme")
    for name in ("a", "b", "a"):
        path = f"/v1/routes/{name}.example"
        assert (await ask(control, acme, "PUT", path, script="acme")).status_code == 202
    third = await ask(control, acme, "PUT", "/v1/routes/c.example", script="acme")
    assert third.json()["error"]["code"] == "bad_hostname"
    monkeypatch.setattr(ownership, "DAYS", 0)
    assert (await ask(control, acme, "GET", "/v1/routes/a.example")).status_code == 404
    assert (await ask(control, acme, "POST", "/v1/routes/a.example/verify")).status_code == 404
    assert world.asked == []


async def test_claims_go_with_their_tenant(control: Control) -> None:
    acme = await control.tenant("acme")
    await control.tenant("acme2")
    await ask(control, acme, "PUT", script="acme")
    await ask(control, OPERATOR, "DELETE", "/v1/tenants/acme")
    assert await control.store.list("claim:") == []


@pytest.mark.parametrize(("rule", "status"), [("off", 200), ("operator", 202)])
async def test_rules(tmp_path: Path, rule: str, status: int) -> None:
    config = Config(hostnames=HostnameRules(verification=rule))
    async with control_plane(tmp_path, config) as control:
        acme = await control.tenant("acme")
        assert (await ask(control, acme, "PUT", script="acme")).status_code == status
        answer = await ask(control, acme, "POST", f"{HOST}/verify")
        assert answer.status_code == status
        if rule == "operator":
            assert "operator" in answer.json()["verification_errors"][0]
