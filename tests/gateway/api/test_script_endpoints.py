"""Scripts of a dispatch namespace, as Cloudflare's clients use them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.errors import PlatformFailed
from gateway.model.script import ScriptKey
from tests.support.control import HELLO, Control, script_path, upload_parts

pytestmark = pytest.mark.anyio


async def put(
    client: httpx.AsyncClient, name: str, metadata: dict[str, Any] | None = None, **modules: bytes
) -> httpx.Response:
    return await client.put(script_path(name), files=upload_parts(metadata, **modules))


async def test_upload_answers_the_new_version(
    control: Control, operator: httpx.AsyncClient
) -> None:
    response = await put(operator, "hello", {"tags": ["a"], "logpush": True})
    body = response.json()
    assert response.status_code == 200
    assert body["success"] is True
    assert body["errors"] == []
    assert body["messages"][0]["message"] == "metadata key 'logpush' has no effect here"
    result = body["result"]
    script = await control.store.get_script(ScriptKey("production", "hello"))
    assert script is not None
    assert result["id"] == "hello"
    assert result["deployment_id"] == script.version_id
    assert result["startup_time_ms"] == 7
    assert result["handlers"] == ["fetch"]
    assert result["tags"] == ["a"]
    assert result["waypost"]["urls"] == ["http://hello.localhost:8787"]
    assert result["created_on"].endswith("Z")
    assert len(result["created_on"]) == 27
    stored = await control.store.get_version(script.version_id)
    assert stored is not None
    assert stored.modules[0].content == HELLO
    assert stored.startup_ms == 7


async def test_caches_hear_of_a_deploy_before_it_serves(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await put(operator, "hello")
    assert control.events == ["tenant hello", "script hello", "adopt hello"]


async def test_upload_runs_under_the_plan_lowered_by_the_script(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await control.tenant("acme", plan="pro")
    await put(operator, "acme-x", {"limits": {"cpu_ms": 5, "subrequests": 999}})
    _, limits = control.launcher.launched[0]
    assert limits.cpu_ms == 5
    assert limits.subrequests == control.config.plans["pro"].subrequests


async def test_rejected_code_names_the_tenants_line_and_the_old_one_serves(
    control: Control, operator: httpx.AsyncClient
) -> None:
    first = (await put(operator, "hello")).json()["result"]["deployment_id"]
    control.launcher.fail("code", "SyntaxError", "invalid syntax", "entry.py")
    response = await put(operator, "hello")
    error = response.json()["errors"][0]
    assert response.status_code == 400
    assert error["code"] == 10021
    assert "SyntaxError: invalid syntax\n  at entry.py:3" in error["message"]
    got = (await operator.get(script_path("hello"))).json()["result"]["script"]
    assert got["deployment_id"] == first


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        ("cpu", 10021, "Script startup exceeded CPU time limit."),
        ("memory", 10021, "Script startup exceeded memory limit."),
        ("entrypoint", 10068, "nothing to call"),
    ],
)
async def test_other_reasons_not_to_start(
    control: Control, operator: httpx.AsyncClient, reason: str, code: int, words: str
) -> None:
    control.launcher.fail(reason, "NoHandlers", "nothing to call")
    response = await put(operator, "hello")
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == code
    assert words in response.json()["errors"][0]["message"]
    assert await control.store.get_tenant("hello") is None


async def test_our_own_failure_is_not_the_tenants(
    control: Control, operator: httpx.AsyncClient
) -> None:
    control.launcher.failure = PlatformFailed("no zygote")
    response = await put(operator, "hello")
    assert response.status_code == 503
    assert "no zygote" in response.json()["errors"][0]["message"]


async def test_defects_are_answered_in_shape_and_candidate_discarded(
    control: Control, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(version: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(control.store, "put_version", broken)
    response = await put(operator, "hello")
    assert response.status_code == 500
    assert response.json()["success"] is False
    assert "disk full" not in response.text
    assert "discard hello" in control.events
    assert "adopt hello" not in control.events


async def test_of_two_uploads_of_one_script_one_wins(
    control: Control, operator: httpx.AsyncClient
) -> None:
    control.launcher.gate = asyncio.Event()
    first = asyncio.create_task(put(operator, "hello"))
    await control.launcher.starts.get()
    refused = await put(operator, "hello")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, 10035)
    other = asyncio.create_task(put(operator, "other"))
    await control.launcher.starts.get()
    control.launcher.gate.set()
    assert [(await response).status_code for response in (first, other)] == [200, 200]
    assert len(control.launcher.launched) == 2
    assert (await put(operator, "hello")).status_code == 200


async def test_other_changes_of_one_script_wait_for_each_other(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await put(operator, "hello")
    await control.launcher.starts.get()
    control.launcher.gate = asyncio.Event()
    upload = asyncio.create_task(put(operator, "hello"))
    await control.launcher.starts.get()
    secrets = [
        asyncio.create_task(
            operator.put(
                f"{script_path('hello')}/secrets",
                json={"name": f"S{number}", "text": "x", "type": "secret_text"},
            )
        )
        for number in range(3)
    ]
    control.launcher.gate.set()
    answers = await asyncio.gather(upload, *secrets)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert control.launcher.most_running == 1
    listed = (await operator.get(f"{script_path('hello')}/secrets")).json()["result"]
    assert [item["name"] for item in listed] == ["S0", "S1", "S2"]


async def test_get_delete_and_the_codes_of_missing_things(operator: httpx.AsyncClient) -> None:
    missing = await operator.get(script_path("hello"))
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, 10092)
    assert missing.json()["result"] is None
    await put(operator, "hello")
    got = (await operator.get(script_path("hello"))).json()["result"]
    assert got["dispatch_namespace"] == "production"
    assert got["script"]["id"] == "hello"
    deleted = await operator.delete(script_path("hello"), params={"force": "true"})
    assert deleted.json() == {"success": True, "errors": [], "messages": [], "result": None}
    assert (await operator.delete(script_path("hello"))).status_code == 404
    no_namespace = await operator.get(script_path("hello", namespace="nowhere"))
    assert (no_namespace.status_code, no_namespace.json()["errors"][0]["code"]) == (404, 100119)
    upload = await operator.put(script_path("x", namespace="nowhere"), files=upload_parts())
    assert (upload.status_code, upload.json()["errors"][0]["code"]) == (404, 100119)


@pytest.mark.parametrize("name", ["Upper", "a--b", "-a", "a" * 64, "www-shop", "platform"])
async def test_bad_names(operator: httpx.AsyncClient, name: str) -> None:
    response = await put(operator, name)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 10016)


@pytest.mark.parametrize(
    ("metadata", "status", "code"),
    [
        ({"main_module": "other.py"}, 400, 10026),
        ({"main_module": None}, 400, 10026),
        ({"main_module": "../entry.py"}, 400, 10026),
        ({"assets": {"jwt": "x"}}, 400, 10026),
        ({"limits": {"cpu_ms": 0}}, 400, 10026),
        ({"limits": {"cpu_ms": "5"}}, 400, 10026),
        ({"limits": {"warp": 5}}, 400, 10026),
        ({"tags": "one"}, 400, 10026),
        ({"entrypoint": "a.b"}, 400, 10026),
        ({"compatibility_date": "today"}, 400, 10026),
        ({"bindings": [{"type": "plain_text", "text": "x"}]}, 400, 10052),
        ({"bindings": [{"name": "K", "type": "kv_namespace", "namespace_id": "1"}]}, 400, 10056),
        ({"bindings": [{"name": "A", "type": "plain_text", "text": "x" * 200_000}]}, 400, 10054),
        ({"bindings": [{"name": "A", "type": "json", "json": 2**70}]}, 400, 10026),
    ],
)
async def test_bad_metadata(
    operator: httpx.AsyncClient, metadata: dict[str, Any], status: int, code: int
) -> None:
    response = await put(operator, "hello", metadata)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (status, code)


async def test_javascript_is_told_apart(operator: httpx.AsyncClient) -> None:
    files: dict[str, tuple[str | None, bytes, str]] = {
        "metadata": (None, b'{"main_module":"index.js"}', "application/json"),
        "index.js": ("index.js", b"export default {}", "application/javascript+module"),
    }
    response = await operator.put(script_path("hello"), files=files)
    assert response.status_code == 400
    assert "no JavaScript runtime" in response.json()["errors"][0]["message"]


async def test_too_large_uploads(control: Control, operator: httpx.AsyncClient) -> None:
    size = (control.config.upload.max_mb << 20) + 1
    response = await put(operator, "hello", entry=b"#" * size)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (413, 10027)
    response = await put(operator, "hello", entry=b"#" * (size + (3 << 20)))
    assert (response.status_code, response.json()["errors"][0]["code"]) == (413, 10027)


async def test_content_comes_back(operator: httpx.AsyncClient) -> None:
    await put(operator, "one")
    single = await operator.get(script_path("one") + "/content")
    assert single.content == HELLO
    assert single.headers["content-type"] == "text/x-python"
    await put(operator, "two", entry=HELLO, other=b"\r\n--x\r\n")
    several = await operator.get(script_path("two") + "/content")
    assert several.headers["cf-entrypoint"] == "entry.py"
    again = await operator.put(
        script_path("three"),
        content=_with_metadata(several),
        headers={"content-type": several.headers["content-type"]},
    )
    assert again.status_code == 200, again.text
    third = await operator.get(script_path("three") + "/content")
    assert third.content.count(b"\r\n--x\r\n") == 1


def _with_metadata(response: httpx.Response) -> bytes:
    boundary = response.headers["content-type"].split("boundary=")[1]
    part = (
        f"--{boundary}\r\nContent-Disposition: form-data; name=metadata\r\n\r\n"
        '{"main_module":"entry.py"}\r\n'
    )
    return part.encode() + response.content


async def test_list_by_page_cursor_and_tag(operator: httpx.AsyncClient) -> None:
    for number in range(5):
        await put(operator, f"acme-{number}", {"tags": ["even"] if number % 2 == 0 else []})
    path = script_path("").rstrip("/")

    async def ids(**query: str) -> tuple[list[str], dict[str, Any]]:
        body = (await operator.get(path, params=query)).json()
        return [item["id"] for item in body["result"]], body["result_info"]

    first, info = await ids(limit="2")
    assert first == ["acme-0", "acme-1"]
    assert (await ids(limit="3", cursor=info["cursor"]))[0] == ["acme-2", "acme-3", "acme-4"]
    assert (await ids(page="3", per_page="2"))[0] == ["acme-4"]
    assert (await ids(page="4", per_page="2"))[0] == []
    assert (await ids(tags="even:yes"))[0] == ["acme-0", "acme-2", "acme-4"]
    assert (await ids(tags="even:no"))[0] == ["acme-1", "acme-3"]
    assert (await operator.get(path, params={"tags": "even"})).status_code == 400
    assert (await operator.get(path, params={"limit": "-1"})).status_code == 400


async def test_secrets_live_on_and_are_never_shown(
    control: Control, operator: httpx.AsyncClient
) -> None:
    first = {"bindings": [{"name": "V", "type": "plain_text", "text": "v"}]}
    await put(operator, "hello", first)
    secrets = script_path("hello") + "/secrets"
    answer = await operator.put(
        secrets,
        content=b'{"name":"S","text":"hush","type":"secret_text"}',
        headers={"content-type": "text/plain;charset=UTF-8"},
    )
    assert answer.json()["result"] == {"name": "S", "type": "secret_text"}
    assert len(control.launcher.launched) == 2
    assert {item.name: item.value for item in control.launcher.launched[1][0].bindings} == {
        "S": "hush",
        "V": "v",
    }
    await put(operator, "hello")
    settings = await operator.get(script_path("hello") + "/settings")
    bindings = await operator.get(script_path("hello") + "/bindings")
    listed = await operator.get(secrets)
    assert listed.json()["result"] == [{"name": "S", "type": "secret_text"}]
    assert (await operator.get(f"{secrets}/S")).json()["result"]["name"] == "S"
    assert bindings.json()["result"] == settings.json()["result"]["bindings"]
    assert bindings.json()["result"] == [{"name": "S", "type": "secret_text"}]
    assert "hush" not in settings.text + bindings.text + listed.text
    assert (await operator.delete(f"{secrets}/S")).json()["result"] is None
    assert (await operator.get(secrets)).json()["result"] == []
    assert (await operator.delete(f"{secrets}/S")).status_code == 404


async def test_secret_that_breaks_the_code_is_not_stored(
    control: Control, operator: httpx.AsyncClient
) -> None:
    await put(operator, "hello")
    control.launcher.fail("code", "KeyError", "'S'", "entry.py")
    path = script_path("hello") + "/secrets"
    response = await operator.put(path, json={"name": "S", "text": "x"})
    assert response.json()["errors"][0]["code"] == 10021
    assert (await operator.get(path)).json()["result"] == []
