"""The audit log taken away whole, and what is old removed: nothing else ever is."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from typing import Any

import httpx
import pytest

from gateway.accounts import Grant, Scope
from gateway.model.audit import PRUNED, AuditEntry, AuditQuery
from gateway.store.sqlite.audit import PRUNE_ROWS
from gateway.upkeep import DAY_MS, prune_audit
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

EXPORT = "/v1/audit/export"


async def lines(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(EXPORT, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def put(control: Control, count: int, *, at_ms: int, **fields: Any) -> None:
    """Entries of a time that is past."""
    entry = AuditEntry(at_ms=at_ms, actor="t", action="tenant.put", target="acme", **fields)
    async with control.store._db.transaction() as connection:
        await connection.executemany(
            "INSERT INTO audit (at_ms, tenant, actor, action, target, document)"
            " VALUES (?, ?, 't', 'tenant.put', 'acme', ?)",
            [(at_ms, entry.tenant, json.dumps({"at_ms": at_ms, "actor": "t", "action": "x",
                                               "target": "acme"}))] * count,
        )  # fmt: skip


async def test_all_of_it_in_order_and_as_the_list_shows_it(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await put(control, 1203, at_ms=5)
    await operator.put(script_path("acme"), files=upload_parts())
    exported = await lines(operator)
    numbers = [entry["number"] for entry in exported]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 1203
    listed = (await operator.get("/v1/audit", params={"limit": 2})).json()["entries"]
    assert exported[:-3:-1] == listed


async def test_filters_leave_what_they_say(operator: httpx.AsyncClient) -> None:
    for slug in ("acme", "beta"):
        await operator.put(script_path(slug), files=upload_parts())
    mine = await lines(operator, tenant="acme", action="script.deploy")
    assert [entry["target"] for entry in mine] == ["production/acme"]
    at = mine[0]["at"]
    later = await lines(operator, since=at)
    assert later[0]["at"] >= at
    everything = await lines(operator)
    assert len(await lines(operator, until=at)) + len(later) == len(everything)
    plus = {"since": "2001-01-01T00:00:00+02:00", "until": "2100-01-01"}
    assert await lines(operator, **plus) == everything
    listed = (await operator.get("/v1/audit", params={"until": "2001-01-01"})).json()
    assert listed["entries"] == []
    for wrong in ({"since": "soon"}, {"until": "9999-99-99"}, {"format": "xlsx"}, {"since": "0"}):
        for path in (EXPORT, "/v1/audit"):
            answer = await operator.get(path, params=wrong)
            assert answer.status_code == (200 if path != EXPORT and "format" in wrong else 400)


async def test_a_spreadsheet_finds_no_formula(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await operator.put("/v1/tenants/acme", json={"name": '=HYPERLINK("x"), and a "quote"'})
    body = {"label": "=1+1", "scope": "admin"}
    bearer = (await operator.post("/v1/tenants/acme/tokens", json=body)).json()["token"]
    async with control.client(bearer) as client:
        await client.post("/v1/tenants/acme/tokens", json={"label": "a,b\r\nc"})
    answer = await operator.get(EXPORT, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    shown = await lines(operator)
    assert [int(row["number"]) for row in rows] == [entry["number"] for entry in shown]
    assert [json.loads(row["after"]) for row in rows] == [entry["after"] for entry in shown]
    assert [row["at"] for row in rows] == [entry["at"] for entry in shown]
    assert rows[-1]["actor_label"] == "'=1+1"
    assert not any(cell[:1] in "=+-@" for row in rows for cell in row.values() if cell)


async def test_who_may_take_what(control: Control, operator: httpx.AsyncClient) -> None:
    for slug in ("acme", "beta"):
        await operator.put(f"/v1/tenants/{slug}")
        await operator.put(script_path(slug), files=upload_parts())
    for scope in (Scope.DEPLOY, Scope.READ, Scope.TAIL):
        token = (await control.services.tokens.issue("acme", Grant(scope=scope))).token
        async with control.client(token) as client:
            assert (await client.get(EXPORT)).status_code == 403
    token = (await control.services.tokens.issue("acme", Grant(scope=Scope.ADMIN))).token
    async with control.client(token) as client:
        assert {entry["tenant"] for entry in await lines(client)} == {"acme"}
        early = await lines(client, since="2001-01-01")
        assert {entry["tenant"] for entry in early} == {"acme"}
        for other in ("beta", "none"):
            assert (await client.get(EXPORT, params={"tenant": other})).status_code == 403


async def test_what_is_old_is_removed_and_that_is_told(
    control: Control, operator: httpx.AsyncClient
) -> None:
    now = time.time_ns() // 1_000_000
    await put(control, PRUNE_ROWS + 5, at_ms=now - 31 * DAY_MS)
    await put(control, 3, at_ms=now - 29 * DAY_MS)
    await prune_audit(control.store, 30)
    kept = await lines(operator)
    assert [entry["action"] for entry in kept[:3]] == ["x"] * 3
    told = kept[3:]
    assert {(entry["action"], entry["actor"]) for entry in told} == {(PRUNED, "platform")}
    assert sum(entry["detail"]["removed"] for entry in told) == PRUNE_ROWS + 5
    await prune_audit(control.store, 30)
    assert await lines(operator) == kept


async def test_what_is_kept_stays_even_so(control: Control) -> None:
    now = time.time_ns() // 1_000_000
    await put(control, 2, at_ms=now - 31 * DAY_MS)
    await prune_audit(control.store, 30)
    await put(control, 2, at_ms=now - 29 * DAY_MS)
    for sql in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            async with control.store._db.transaction() as connection:
                await connection.execute(sql)
    # a longer time asked for later brings nothing back, nor does it close what was open
    await prune_audit(control.store, 365)
    assert len(await control.store.list_audit(AuditQuery())) == 3
