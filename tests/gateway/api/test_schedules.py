"""Schedules as wrangler and the SDKs set them, and as our own calls run them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.model.script import ScriptKey
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

WORKER = "/client/v4/accounts/{}/workers/scripts/{}/schedules"
RUN = "/v1/scripts/acme/schedules/run"


def at(name: str = "acme", account: str = "platform") -> str:
    return WORKER.format(account, name)


def code(response: httpx.Response) -> tuple[int, int]:
    return response.status_code, response.json()["errors"][0]["code"]


def crons(response: httpx.Response) -> list[str]:
    assert response.is_success, response.text
    return [item["cron"] for item in response.json()["result"]["schedules"]]


def body(*expressions: str) -> list[dict[str, str]]:
    return [{"cron": expression} for expression in expressions]


async def deploy(client: httpx.AsyncClient, name: str = "acme", **metadata: Any) -> None:
    answer = await client.put(script_path(name), files=upload_parts(metadata))
    assert answer.is_success, answer.text


async def test_they_are_set_replaced_kept_and_cleared(operator: httpx.AsyncClient) -> None:
    assert code(await operator.put(at(), json=body("* * * * *"))) == (404, 10007)
    await deploy(operator)
    assert crons(await operator.get(at())) == []
    set_first = await operator.put(at(), json=body("*/5 * * * *", " 0 0  * * MON#1", "*/5 * * * *"))
    assert crons(set_first) == ["*/5 * * * *", "0 0 * * MON#1"]
    first = set_first.json()["result"]["schedules"][0]
    assert first["created_on"] == first["modified_on"]
    assert first["waypost"]["next"] > first["created_on"]
    # at the other address, and after another deploy
    assert crons(await operator.get(f"{script_path('acme')}/schedules")) == crons(set_first)
    await deploy(operator)
    assert crons(await operator.get(at())) == crons(set_first)
    replaced = await operator.put(at(), json=body("*/5 * * * *", "1 * * * *"))
    kept, new = replaced.json()["result"]["schedules"]
    assert kept["created_on"] == first["created_on"]
    assert new["created_on"] >= kept["created_on"]
    assert crons(await operator.put(at(), json=[])) == []
    assert crons(await operator.get(at())) == []


async def test_they_go_with_their_script(control: Control, operator: httpx.AsyncClient) -> None:
    await deploy(operator)
    await operator.put(at(), json=body("* * * * *"))
    assert await control.store.list_scheduled() == [
        (ScriptKey("production", "acme"), ("* * * * *",))
    ]
    assert (await operator.delete(script_path("acme"))).is_success
    assert await control.store.list_scheduled() == []
    await deploy(operator)
    assert crons(await operator.get(at())) == []


@pytest.mark.parametrize(
    "wrong", ["", "* * * *", "61 * * * *", "0 0 31 2 *", "@daily", "* * * * 0", "x" * 5000]
)
async def test_what_is_no_expression_changes_nothing(
    operator: httpx.AsyncClient, wrong: str
) -> None:
    await deploy(operator)
    await operator.put(at(), json=body("* * * * *"))
    refused = await operator.put(at(), json=body("1 * * * *", wrong))
    assert code(refused) == (400, 10100)
    assert "invalid cron string" in refused.json()["errors"][0]["message"]
    assert crons(await operator.get(at())) == ["* * * * *"]


@pytest.mark.parametrize("wrong", [b"{}", b"[1]", b'[{"cron":1}]', b"[{}]", b"["])
async def test_what_is_no_list_of_them(operator: httpx.AsyncClient, wrong: bytes) -> None:
    await deploy(operator)
    assert (await operator.put(at(), content=wrong)).status_code == 400


async def test_a_script_without_the_handler_is_warned(operator: httpx.AsyncClient) -> None:
    await deploy(operator)
    told = await operator.put(at(), json=body("* * * * *"))
    (message,) = told.json()["messages"]
    assert "no handler for schedules" in message["message"]
    assert (await operator.put(at(), json=[])).json()["messages"] == []


async def test_the_plan_bounds_them_for_a_tenant(
    control: Control, operator: httpx.AsyncClient
) -> None:
    most = control.services.config.plan(None).limits.schedules
    await deploy(operator)
    await deploy(operator, "acme-two")
    minutes = [f"{minute} * * * *" for minute in range(most + 1)]
    assert code(await operator.put(at(), json=body(*minutes))) == (403, 10072)
    assert len(crons(await operator.put(at(), json=body(*minutes[:-1])))) == most
    assert code(await operator.put(at("acme-two"), json=body("* * * * *"))) == (403, 10072)
    # another tenant's do not count, and fewer are never too many
    await deploy(operator, "other")
    assert crons(await operator.put(at("other"), json=body("* * * * *"))) == ["* * * * *"]
    assert len(crons(await operator.put(at(), json=body(*minutes[:3])))) == 3
    assert crons(await operator.put(at("acme-two"), json=body("* * * * *"))) == ["* * * * *"]


async def test_another_tenants_are_not_there(control: Control, operator: httpx.AsyncClient) -> None:
    await deploy(operator)
    await operator.put(at(), json=body("* * * * *"))
    async with control.client(await control.tenant("other")) as stranger:
        assert code(await stranger.get(at(account="other"))) == (404, 10007)
        assert code(await stranger.put(at(account="other"), json=[])) == (404, 10007)
        assert (await stranger.post(RUN, json={"cron": "* * * * *"})).status_code == 404
    assert control.called == []
    assert crons(await operator.get(at())) == ["* * * * *"]


async def test_one_is_run_at_once(control: Control, operator: httpx.AsyncClient) -> None:
    key = ScriptKey("production", "acme")
    await deploy(operator)
    unnamed = await operator.post(RUN)
    assert (unnamed.status_code, unnamed.json()["error"]["code"]) == (400, "bad_schedule")
    await operator.put(at(), json=body("*/5 * * * *"))
    ran = await operator.post(RUN)
    assert (ran.json()["outcome"], ran.json()["cron"]) == ("ok", "*/5 * * * *")
    assert (await operator.post(RUN, json={"cron": "1 2 * * *"})).json()["cron"] == "1 2 * * *"
    assert (await operator.post(RUN, json={"cron": "1 2"})).status_code == 400
    assert control.called == [(key, "*/5 * * * *"), (key, "1 2 * * *")]
