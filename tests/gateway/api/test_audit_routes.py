"""Every path that changes something, from the table of routes: one entry, stored with the change.

What the store's writer is told is looked at, statement by statement: a transaction that changes
anything has the entry of it, so that a node that is killed leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from gateway.api.actions import ACTIONS
from gateway.api.domains import CHANGESET, DOMAIN, DOMAINS, PATTERNS, RECORDS
from gateway.api.paths import NAMESPACES, SCRIPT, SCRIPTS, WORKER
from gateway.api.schedules import RUN
from gateway.api.script_versions import LATEST
from gateway.model.audit import AuditEntry, AuditQuery
from gateway.model.script import ScriptKey
from tests.support.control import Control, upload_parts

pytestmark = pytest.mark.anyio

NAME = "acme-shop"
NAMESPACE = f"{NAMESPACES}/{{namespace}}"
SERVICE = WORKER.replace("/scripts/", "/services/")
TENANT_TOKENS = "/v1/tenants/{slug}/tokens"
QUIET = ("UPDATE tokens SET used_ms",)
"""What is not a change of anybody's."""


class Step(NamedTuple):
    """One request that changes something."""

    method: str
    path: str
    kwargs: dict[str, Any]
    stored: bool = True
    """Not so of tails, which no store knows, and of what has no effect here."""
    told: bool = True
    """Not so of what only asks what a change would do."""


def on_script(base: str) -> Iterator[Step]:
    """What can be done to a script at one of its addresses, its removal last."""
    yield Step("PUT", base, {"files": upload_parts({"tags": ["a"]})})
    yield Step("POST", f"{base}/versions", {"files": upload_parts()})
    yield Step("PUT", f"{base}/content", {"files": upload_parts()})
    settings = {"settings": (None, b'{"limits": {"cpu_ms": 5}}', "application/json")}
    yield Step("PATCH", f"{base}/settings", {"files": settings})
    yield Step("PUT", f"{base}/schedules", {"json": [{"cron": "*/5 * * * *"}]})
    yield Step("PUT", f"{base}/tags", {"json": ["c"]})
    yield Step("PUT", f"{base}/tags/{{tag:path}}", {})
    yield Step("DELETE", f"{base}/tags/{{tag:path}}", {})
    yield Step("PUT", f"{base}/secrets", {"json": {"name": "KEY", "text": "hush"}})
    yield Step("DELETE", f"{base}/secrets/{{secret}}", {})
    yield Step("PATCH", f"{base}/secrets-bulk", {"json": {"secrets": {"A": {"text": "hush"}}}})
    yield Step("POST", f"{base}/deployments", {"json": {"versions": "{versions}"}})
    yield Step("POST", f"{base}/tails", {}, stored=False)
    yield Step("DELETE", f"{base}/tails/{{tail}}", {}, stored=False)
    if base == WORKER:
        tags = {"json": {"tags": ["d"]}}
        yield Step("PATCH", f"{base}/script-settings", tags)
        switch = {"json": {"enabled": True, "previews_enabled": False}}
        yield Step("POST", f"{base}/subdomain", switch)
        yield Step("POST", f"{base}/subdomain", {})
        yield Step("DELETE", f"{base}/subdomain", {})
        origins = [{"hostname": "c.example"}]
        yield Step("POST", CHANGESET, {"json": origins}, stored=False, told=False)
        yield Step("PUT", RECORDS, {"json": {"origins": origins}})
        yield Step("PUT", PATTERNS, {"json": [{"pattern": "p.example/*"}]})
        yield Step("PUT", DOMAINS, {"json": {"hostname": "shop.example", "service": NAME}})
        yield Step("DELETE", DOMAIN, {})
        yield Step("PATCH", LATEST, {"json": {"env": {"B": {"text": "hush"}}}})
        yield Step("POST", RUN, {}, stored=False)
    yield Step("DELETE", base, {})


def tokens(base: str) -> Iterator[Step]:
    """What can be done to tokens."""
    yield Step("POST", base, {"json": {"label": "ci"}})
    yield Step("POST", f"{base}/{{token}}/rotate", {})
    yield Step("DELETE", f"{base}/{{token}}", {})


STEPS = (
    Step("PUT", "/v1/tenants/{slug}", {"json": {"plan": "pro"}}),
    *tokens(TENANT_TOKENS),
    *tokens("/v1/tokens"),
    *on_script(SCRIPT),
    *on_script(WORKER),
    Step("PUT", WORKER, {"files": upload_parts()}),
    Step("DELETE", SERVICE, {}),
    Step("PUT", SCRIPT, {"files": upload_parts({"tags": ["bulk"]})}),
    Step("DELETE", SCRIPTS, {"params": {"tags": "bulk:yes"}}),
    Step("PUT", "/v1/routes/{hostname}", {"json": {"script": NAME}}),
    Step("POST", "/v1/routes/{hostname}/verify", {}, stored=False),
    Step("DELETE", "/v1/routes/{hostname}", {}),
    Step("POST", "/v1/routes/bulk", {"content": b'{"hostname":"b.example","script":"acme"}'}),
    Step("POST", NAMESPACES, {"json": {"name": "staging"}}),
    Step("PUT", NAMESPACE, {"json": {"name": "stage"}}),
    Step("DELETE", NAMESPACE, {}),
    Step("POST", "/v1/keys/rotate", {}),
    Step("DELETE", "/v1/tenants/{slug}", {}),
)


class Walk:
    """Goes through the steps, with what earlier answers said."""

    def __init__(self, control: Control, client: httpx.AsyncClient) -> None:
        self.transactions: list[list[str]] = []
        self.status = 0
        self._control = control
        self._client = client
        self._seen = {"token": "", "tail": "", "namespace": "production"}

    async def watch(self) -> None:
        """Note what the writer does from now on."""
        await self._control.store._db.writer.set_trace_callback(self._traced)

    def _traced(self, sql: str) -> None:
        if sql.startswith("BEGIN"):
            self.transactions.append([])
        elif sql.startswith(("INSERT", "UPDATE", "DELETE")) and not sql.startswith(QUIET):
            self.transactions[-1].append(sql)

    async def take(self, step: Step) -> list[AuditEntry]:
        """Make the request; the entries that it left."""
        before = await self._entries()
        answer = await self._client.request(step.method, self._url(step), **await self._given(step))
        assert answer.is_success, (step, answer.text)
        self._learn(step, answer)
        self.status = answer.status_code
        return [entry for entry in await self._entries() if entry not in before]

    async def _entries(self) -> list[AuditEntry]:
        return await self._control.store.list_audit(AuditQuery(), limit=1000)

    def _url(self, step: Step) -> str:
        in_namespace = step.path.startswith(f"{NAMESPACES}/{{namespace}}/")
        named = {"namespace": "production"} if in_namespace else {}
        path = step.path.replace("{tag:path}", "b")
        given = {"account": "platform", "slug": "acme", "name": NAME, "hostname": "Shop.Example"}
        return path.format(**given, secret="KEY", **self._seen | named)

    async def _given(self, step: Step) -> dict[str, Any]:
        if step.kwargs.get("json") != {"versions": "{versions}"}:
            return step.kwargs
        first = (await self._control.store.list_versions(ScriptKey("production", NAME)))[-1]
        return {"json": {"versions": [{"version_id": first.id, "percentage": 100}]}}

    def _learn(self, step: Step, answer: httpx.Response) -> None:
        if step.method == "POST" and step.path.endswith("/tokens"):
            self._seen["token"] = answer.json()["id"]
        if step.path.endswith("/tails"):
            self._seen["tail"] = answer.json()["result"]["id"]
        if (
            step.path.startswith(NAMESPACES)
            and "json" in step.kwargs
            and "/scripts" not in step.path
        ):
            self._seen["namespace"] = step.kwargs["json"]["name"]


def test_every_path_is_walked() -> None:
    assert {(step.method, step.path) for step in STEPS} == set(ACTIONS)


async def test_each_change_and_its_entry_are_one(
    control: Control, operator: httpx.AsyncClient
) -> None:
    walk = Walk(control, operator)
    # the default namespace is made by whoever asks first
    assert (await operator.get(NAMESPACES.format(account="platform"))).is_success
    for step in STEPS:
        await walk.watch()
        walk.transactions.clear()
        entries = await walk.take(step)
        action = ACTIONS[step.method, step.path]
        assert [entry.action for entry in entries] == [action] * step.told, step
        if not step.told:
            continue
        (entry,) = entries
        assert entry.status == walk.status, step
        assert entry.actor_label == "operator"
        assert entry.address == "127.0.0.1"
        assert entry.target or action in ("route.bulk", "key.rotate"), step
        writing = [made for made in walk.transactions if made]
        assert writing, step
        for made in writing:
            changes = [sql for sql in made if not sql.startswith("INSERT INTO audit")]
            # the entry of a rotation is there before the key's file is; sealing comes after
            if action != "key.rotate":
                assert bool(changes) == step.stored, (step, made)
            assert len(changes) < len(made) or action == "key.rotate", (step, made)
        told = (entry.before, entry.after) != (None, None) or entry.detail
        assert told or not step.stored or action in ("token.rotate", "key.rotate"), entry


async def test_a_tenant_that_comes_with_a_change_has_its_own_entry(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await operator.put("/v1/routes/new.example", json={"script": "fresh-shop"})
    route, tenant = await control.store.list_audit(AuditQuery())
    assert (route.action, route.target, route.tenant) == ("route.put", "new.example", "fresh")
    assert (tenant.action, tenant.target, tenant.tenant) == ("tenant.put", "fresh", "fresh")
    assert tenant.after is not None
    assert tenant.detail == {"because": "route.put"}


async def test_what_a_tenant_takes_along_is_counted(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await operator.put("/v1/routes/new.example", json={"script": "fresh"})
    await operator.post("/v1/tenants/fresh/tokens")
    await operator.delete("/v1/tenants/fresh")
    (removed, *_) = await control.store.list_audit(AuditQuery())
    assert removed.detail == {"scripts": 0, "hostnames": 1, "tokens": 1}


async def test_each_script_that_goes_by_its_tag_has_an_entry(
    control: Control, operator: httpx.AsyncClient
) -> None:
    base = SCRIPTS.format(account="platform", namespace="production")
    for name in ("acme-1", "acme-2", "acme-3"):
        metadata = {"tags": ["old"] if name != "acme-2" else []}
        await operator.put(f"{base}/{name}", files=upload_parts(metadata))
    assert (await operator.delete(base, params={"tags": "old:yes"})).is_success
    entries = await control.store.list_audit(AuditQuery(action="script.delete_tagged"))
    assert [entry.target for entry in entries] == ["production/acme-3", "production/acme-1"]
    assert all(entry.before and entry.before["tags"] == ["old"] for entry in entries)
