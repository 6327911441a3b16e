"""A script under its account-level address, and what wrangler does to one that exists."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.control import OPERATOR, Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

ACCOUNT = "/client/v4/accounts/{account}"
WORKER = f"{ACCOUNT}/workers/scripts/{{name}}"
SECRET = {"name": "S", "type": "secret_text", "text": "hush"}


def worker(name: str = "acme", account: str = "platform") -> str:
    return WORKER.format(account=account, name=name)


def account(path: str, name: str = "platform") -> str:
    return f"{ACCOUNT.format(account=name)}/{path}"


def code(response: httpx.Response) -> tuple[int, int]:
    return response.status_code, response.json()["errors"][0]["code"]


async def put(client: httpx.AsyncClient, text: bytes = b"x = 1", **metadata: Any) -> str:
    response = await client.put(worker(), files=upload_parts(metadata, entry=text))
    assert response.status_code == 200, response.text
    return str(response.json()["result"]["deployment_id"])


async def add(client: httpx.AsyncClient, text: bytes = b"x = 2", **metadata: Any) -> str:
    response = await client.post(
        f"{worker()}/versions?bindings_inherit=strict", files=upload_parts(metadata, entry=text)
    )
    assert response.status_code == 200, response.text
    return str(response.json()["result"]["id"])


async def deploy(client: httpx.AsyncClient, version: str, **more: Any) -> httpx.Response:
    share = {"version_id": version, "percentage": 100}
    body = {"strategy": "percentage", "versions": [share], **more}
    return await client.post(f"{worker()}/deployments", json=body)


async def served(client: httpx.AsyncClient) -> bytes:
    return (await client.get(f"{script_path('acme')}/content")).content


@pytest.mark.parametrize("what", ["secrets", "settings", "bindings", "tags", "deployments"])
async def test_both_addresses_are_one_script(operator: httpx.AsyncClient, what: str) -> None:
    missing = await operator.get(f"{worker()}/{what}")
    assert code(missing) == (404, 10007)
    assert code(await operator.get(f"{script_path('acme')}/{what}")) == (404, 10092)
    await put(operator, bindings=[SECRET])
    here = await operator.get(f"{worker()}/{what}")
    there = await operator.get(f"{script_path('acme')}/{what}")
    assert here.json()["result"] == there.json()["result"]
    assert "hush" not in here.text
    assert code(await operator.get(f"{worker(account='beta')}/{what}")) == (404, 10007)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "workers/services/acme"),
        ("GET", "workers/workers/acme"),
        ("GET", "workers/scripts/acme"),
        ("GET", "workers/scripts/acme/subdomain"),
        ("GET", "workers/scripts/acme/versions"),
        ("GET", "workers/scripts/acme/versions/1"),
        ("GET", "workers/scripts/acme/content/v2"),
        ("GET", "workers/scripts/acme/script-settings"),
        ("PATCH", "workers/scripts/acme/script-settings"),
        ("PATCH", "workers/scripts/acme/settings"),
        ("PATCH", "workers/scripts/acme/secrets-bulk"),
        ("PUT", "workers/scripts/acme/secrets"),
        ("PUT", "workers/scripts/acme/tags"),
        ("PATCH", "workers/workers/acme/versions/latest"),
        ("DELETE", "workers/scripts/acme"),
        ("DELETE", "workers/services/acme"),
        ("POST", "workers/scripts/acme/deployments"),
    ],
)
async def test_another_tenants_worker_is_a_missing_one(
    control: Control, operator: httpx.AsyncClient, method: str, path: str
) -> None:
    await put(operator)
    bodies: dict[str, Any] = {
        "secrets": {"name": "S", "text": "x"},
        "secrets-bulk": {"secrets": {"S": {"text": "x"}}},
        "tags": ["x"],
        "deployments": {"versions": [{"version_id": "1", "percentage": 100}]},
        "latest": {"env": {"S": {"text": "x"}}},
        "script-settings": {"tags": ["x"]},
        "settings": {"tags": ["x"]},
    }
    token = await control.tenant("beta")
    async with control.client(token) as beta:
        body = bodies.get(path.rsplit("/", 1)[1])
        response = await beta.request(method, account(path, "beta"), json=body)
        assert code(response) == (404, 10007), response.text
    assert await served(operator) == b"x = 1"


async def test_a_version_waits_until_it_is_deployed(
    control: Control, operator: httpx.AsyncClient
) -> None:
    first = await put(operator, bindings=[SECRET])
    control.events.clear()
    inherit = {"name": "S", "type": "inherit"}
    second = await add(
        operator, bindings=[inherit], annotations={"workers/message": "m", "workers/tag": "t"}
    )
    assert control.events == ["discard acme"]
    assert await served(operator) == b"x = 1"
    answer = await deploy(operator, second, annotations={"workers/message": "go"})
    assert answer.json()["result"]["annotations"]["workers/message"] == "go"
    assert control.events == ["discard acme", "script acme", "adopt acme"]
    assert await served(operator) == b"x = 2"
    launched = control.launcher.launched[-1][0]
    assert (launched.id, {item.name: item.value for item in launched.bindings}) == (
        second,
        {"S": "hush"},
    )
    listed = (await operator.get(f"{worker()}/versions")).json()["result"]["items"]
    assert [(item["id"], item["number"]) for item in listed] == [(second, 2), (first, 1)]
    viewed = (await operator.get(f"{worker()}/versions/{second}")).json()["result"]
    assert viewed["annotations"] == {
        "workers/triggered_by": "upload",
        "workers/message": "m",
        "workers/tag": "t",
    }
    empty = (await operator.get(f"{worker()}/versions?page=2")).json()["result"]["items"]
    assert empty == []


async def test_rolling_back_is_deploying_an_older_version(operator: httpx.AsyncClient) -> None:
    first = await put(operator)
    await deploy(operator, await add(operator))
    back = (await deploy(operator, first)).json()["result"]
    assert await served(operator) == b"x = 1"
    listed = (await operator.get(f"{worker()}/deployments")).json()["result"]["deployments"]
    assert listed[0] == back
    assert [item["annotations"]["workers/triggered_by"] for item in listed] == [
        "rollback",
        "promotion",
        "upload",
    ]
    one = await operator.get(f"{worker()}/deployments/{back['id']}")
    assert one.json()["result"] == back
    assert (await operator.get(f"{worker()}/deployments/none")).status_code == 404


async def test_a_version_that_no_longer_starts_does_not_serve(
    control: Control, operator: httpx.AsyncClient
) -> None:
    first = await put(operator)
    second = await add(operator)
    control.launcher.fail("code", "KeyError", "'S'", "entry.py")
    assert code(await deploy(operator, second)) == (400, 10021)
    control.launcher.failure = None
    assert await served(operator) == b"x = 1"
    (only,) = (await operator.get(f"{worker()}/deployments")).json()["result"]["deployments"]
    assert only["versions"] == [{"version_id": first, "percentage": 100}]


async def test_a_broken_version_is_not_stored(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await put(operator)
    control.launcher.fail("code", "SyntaxError", "invalid syntax", "entry.py")
    response = await operator.post(f"{worker()}/versions", files=upload_parts())
    assert code(response) == (400, 10021)
    assert len((await operator.get(f"{worker()}/versions")).json()["result"]["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"versions": []},
        {"versions": [{"version_id": "x", "percentage": 50}]},
        {"versions": [{"version_id": "x", "percentage": 0}]},
        {"versions": [{"version_id": str(n), "percentage": 10} for n in range(10)]},
        {"strategy": "canary", "versions": [{"version_id": "x", "percentage": 100}]},
        {
            "versions": [
                {"version_id": "x", "percentage": 190},
                {"version_id": "y", "percentage": -90},
            ]
        },
        {
            "versions": [
                {"version_id": "x", "percentage": 50},
                {"version_id": "x", "percentage": 50},
            ]
        },
        {
            "versions": [
                {"version_id": "x", "percentage": 90},
                {"version_id": "y", "percentage": 11},
            ]
        },
    ],
)
async def test_senseless_deployments_are_refused(
    operator: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    await put(operator)
    response = await operator.post(f"{worker()}/deployments", json=body)
    assert code(response) == (400, 10026)


async def test_a_split_is_told_and_ends_with_the_next_upload(
    operator: httpx.AsyncClient, control: Control
) -> None:
    first = await put(operator)
    second = await add(operator)
    shares = [
        {"version_id": first, "percentage": 90},
        {"version_id": second, "percentage": 10},
    ]
    path = f"{worker()}/deployments"
    control.events.clear()
    made = (await operator.post(path, json={"versions": shares})).json()["result"]
    assert made["versions"] == shares[::-1]
    assert control.events == ["script acme", "adopt acme", "adopt acme"]
    (newest, *_) = (await operator.get(path)).json()["result"]["deployments"]
    assert newest == made
    assert (await operator.get(f"{path}/{made['id']}")).json()["result"] == made
    shown = (await operator.get(script_path("acme"))).json()["result"]["script"]
    assert shown["deployment_id"] == first
    third = await put(operator)
    (newest, *_) = (await operator.get(path)).json()["result"]["deployments"]
    assert newest["versions"] == [{"version_id": third, "percentage": 100}]


async def test_a_version_of_a_split_that_does_not_start_changes_nothing(
    operator: httpx.AsyncClient, control: Control
) -> None:
    first = await put(operator)
    second = await add(operator)
    shares = [{"version_id": item, "percentage": 50} for item in (first, second)]
    control.launcher.fail("code", "SyntaxError", "invalid syntax", "entry.py")
    response = await operator.post(f"{worker()}/deployments", json={"versions": shares})
    assert code(response) == (400, 10021)
    shares[0]["version_id"] = "nothing"
    control.launcher.failure = None
    response = await operator.post(f"{worker()}/deployments", json={"versions": shares})
    assert code(response) == (404, 10092)
    (only,) = (await operator.get(f"{worker()}/deployments")).json()["result"]["deployments"]
    assert only["versions"] == [{"version_id": first, "percentage": 100}]


async def test_version_of_another_script_cannot_be_deployed(operator: httpx.AsyncClient) -> None:
    await put(operator)
    other = await operator.put(worker("beta"), files=upload_parts(None, entry=b"stolen = 1"))
    version = other.json()["result"]["deployment_id"]
    assert code(await deploy(operator, version)) == (404, 10092)
    assert (await operator.get(f"{worker()}/versions/{version}")).status_code == 404
    assert (await operator.get(f"{worker()}/content/v2?version={version}")).status_code == 404
    assert await served(operator) == b"x = 1"


async def test_secrets_of_a_version_that_waits(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await put(operator, bindings=[SECRET])
    await add(operator)
    path = account("workers/workers/acme/versions/latest")
    body = {
        "env": {"N": {"type": "secret_text", "text": "new"}, "S": None},
        "annotations": {"workers/message": "m"},
    }
    kind = {"content-type": "application/merge-patch+json"}
    version = (await operator.patch(path, json=body, headers=kind)).json()["result"]
    assert version["number"] == 3
    assert version["annotations"] == {
        "workers/triggered_by": "secret",
        "workers/message": "m",
    }
    secrets = (await operator.get(f"{worker()}/secrets")).json()["result"]
    assert [item["name"] for item in secrets] == ["S"]
    assert await served(operator) == b"x = 1"
    await deploy(operator, version["id"])
    assert await served(operator) == b"x = 2"
    launched = control.launcher.launched[-1][0]
    assert {item.name: item.value for item in launched.bindings} == {"N": "new"}
    wrong: list[tuple[dict[str, Any], int]] = [
        ({"S": None}, 404),
        ({"a b": {"text": "x"}}, 400),
        ({"N": {"text": "x", "type": "secret_key"}}, 400),
    ]
    for bad, status in wrong:
        assert (await operator.patch(path, json={"env": bad})).status_code == status
    missing = account("workers/workers/none/versions/latest")
    assert code(await operator.patch(missing, json=body)) == (404, 10007)


async def test_a_version_needs_its_worker_first(operator: httpx.AsyncClient) -> None:
    response = await operator.post(f"{worker()}/versions", files=upload_parts())
    assert code(response) == (404, 10007)


async def test_what_wrangler_looks_up_before_and_after(operator: httpx.AsyncClient) -> None:
    assert code(await operator.get(account("workers/services/acme"))) == (404, 10007)
    await put(operator, tags=["t"])
    service = (await operator.get(account("workers/services/acme"))).json()["result"]
    script = service["default_environment"]["script"]
    assert (script["tags"], script["last_deployed_from"]) == (["t"], "wrangler")
    url = (await operator.get(account("workers/workers/acme"))).json()["result"]["subdomain"]
    assert url["url"] == "http://acme.localhost:8787"
    subdomain = await operator.get(account("workers/subdomain"))
    assert subdomain.json()["result"] == {"subdomain": "localhost"}
    off = await operator.post(f"{worker()}/subdomain", content=b'{"enabled":false}')
    assert off.json()["result"]["enabled"] is True
    assert off.json()["result"]["previews_enabled"] is False
    assert "stays enabled" in off.json()["messages"][0]["message"]
    on = await operator.post(f"{worker()}/subdomain", content=b'{"enabled":true}')
    assert (on.json()["result"], on.json()["messages"]) == (
        {"enabled": True, "previews_enabled": True},
        [],
    )
    assert (await operator.get(f"{worker()}/subdomain")).json()["result"] == on.json()["result"]
    gone = await operator.delete(f"{worker()}/subdomain")
    assert gone.json()["result"] == {"enabled": True, "previews_enabled": False}
    listed = await operator.get(account("workers/scripts"))
    assert [item["id"] for item in listed.json()["result"]] == ["acme"]
    assert (await operator.get(worker())).content == b"x = 1"
    several = await operator.get(f"{worker()}/content/v2")
    assert several.headers["content-type"].startswith("multipart/form-data")
    assert several.headers["cf-entrypoint"] == "entry.py"


@pytest.mark.parametrize("path", ["workers/services/acme", "workers/scripts/acme"])
async def test_delete(operator: httpx.AsyncClient, path: str) -> None:
    await put(operator)
    looked = await operator.get(account("workers/scripts/acme/references"))
    assert looked.json()["result"]["services"]["incoming"] == []
    assert (await operator.get(account("workers/tails/by-consumer/acme"))).json()["result"] == []
    assert (await operator.get(account("storage/kv/namespaces"))).json()["result"] == []
    assert (await operator.delete(account(path))).json()["result"] is None
    assert code(await operator.delete(account(path))) == (404, 10007)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "workers/scripts/acme/assets-upload-session"),
        ("POST", "storage/kv/namespaces"),
        ("POST", "d1/database"),
        ("POST", "r2/buckets"),
        ("POST", "queues"),
        ("GET", "vectorize/v2/indexes"),
    ],
)
async def test_what_is_absent_says_so(operator: httpx.AsyncClient, method: str, path: str) -> None:
    response = await operator.request(method, account(path), content=b"{}")
    assert code(response) == (404, 7003)
    assert response.json()["success"] is False
    assert response.json()["errors"][0]["error_chain"][0]["message"]


async def test_who_am_i(control: Control) -> None:
    for token, mine in [(OPERATOR, "platform"), (await control.tenant("t"), "t")]:
        async with control.client(token) as client:
            user = (await client.get("/client/v4/user")).json()["result"]
            assert user["email"] == f"{mine}@localhost"
            (membership,) = (await client.get("/client/v4/memberships?page=1")).json()["result"]
            assert membership["account"]["id"] == mine
            assert (await client.get("/client/v4/memberships?page=2")).json()["result"] == []
            (account_,) = (await client.get("/client/v4/accounts?page=1")).json()["result"]
            assert account_["id"] == mine
            assert (await client.get(account("", mine).rstrip("/"))).json()["result"]["id"] == mine


async def test_a_key_is_as_good_as_a_token(control: Control) -> None:
    good = await control.tenant("acme")
    path = "/client/v4/user/tokens/verify"
    async with control.client(None) as client:
        for headers, status in [
            ({"X-Auth-Email": "a@b", "X-Auth-Key": good}, 200),
            ({"X-Auth-Email": "a@b", "X-Auth-Key": "wrong"}, 403),
            ({"Authorization": "Bearer wrong", "X-Auth-Key": good}, 403),
            ({"Authorization": f"bearer   {good} "}, 200),
            ({"Authorization": good}, 401),
            ({"Authorization": f"Basic {good}"}, 401),
            ({"Authorization": "Bearer"}, 401),
            ({"X-Auth-Key": " "}, 401),
            ({}, 401),
        ]:
            assert (await client.get(path, headers=headers)).status_code == status, headers


async def test_where_a_version_answers_by_itself(operator: httpx.AsyncClient) -> None:
    await put(operator)
    version = await add(operator, annotations={"workers/alias": "staging"})
    shown = (await operator.get(f"{worker()}/versions/{version}")).json()["result"]
    assert shown["metadata"]["has_preview"] is True
    assert shown["annotations"]["workers/alias"] == "staging"
    assert shown["waypost"]["preview_urls"] == [
        f"http://{version[:8]}-acme.localhost:8787",
        "http://staging-acme.localhost:8787",
    ]
    for alias in ("Staging", "1st", "a--b", "a" * 60, "x.y"):
        files = upload_parts({"annotations": {"workers/alias": alias}})
        refused = await operator.post(f"{worker()}/versions", files=files)
        assert code(refused) == (400, 10026), alias
