"""Changes to a script without uploading it again: settings, tags, many secrets, code alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.model.script import ScriptKey
from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

PATH = script_path("acme")
VARIABLE = {"name": "V", "type": "plain_text", "text": "v"}
SECRET = {"name": "S", "type": "secret_text", "text": "hush"}


@pytest.fixture
async def acme(operator: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a platform with a script that has tags, a variable and a secret."""
    metadata = {"bindings": [VARIABLE, SECRET], "tags": ["a", "b"], "limits": {"cpu_ms": 7}}
    answer = await operator.put(PATH, files=upload_parts(metadata, entry=b"x = 1"))
    assert answer.status_code == 200, answer.text
    return operator


async def environment(control: Control) -> dict[str, Any]:
    script = await control.store.get_script(ScriptKey("production", "acme"))
    assert script is not None
    version = await control.store.get_version(script.version_id)
    assert version is not None
    return {binding.name: binding.value for binding in version.bindings}


async def result(client: httpx.AsyncClient, path: str) -> Any:
    return (await client.get(f"{PATH}/{path}")).json()["result"]


async def patch(client: httpx.AsyncClient, settings: bytes) -> httpx.Response:
    return await client.patch(f"{PATH}/settings", files={"settings": (None, settings)})


async def test_settings_change_what_they_name(control: Control, acme: httpx.AsyncClient) -> None:
    other = (
        b'{"bindings":[{"name":"W","type":"json","json":[1]}],"compatibility_date":"2026-02-01"}'
    )
    settings = (await patch(acme, other)).json()["result"]
    assert await environment(control) == {"W": [1], "S": "hush"}
    assert settings["compatibility_date"] == "2026-02-01"
    assert settings["limits"] == {"cpu_ms": 7}
    assert settings["tags"] == ["a", "b"]
    assert settings == await result(acme, "settings")


async def test_a_binding_without_a_value_keeps_its_own(
    control: Control, acme: httpx.AsyncClient
) -> None:
    kept = b'{"bindings":[{"name":"V","type":"plain_text"},{"name":"S","type":"secret_text"}]}'
    assert (await patch(acme, kept)).status_code == 200
    assert await environment(control) == {"V": "v", "S": "hush"}


@pytest.mark.parametrize(
    "fields",
    [
        {"settings[tags][]": "x", "settings[bindings][][type]": "plain_text"},
        {"settings.tags[]": "x", "settings.bindings[].type": "plain_text"},
    ],
    ids=["brackets", "dots"],
)
async def test_settings_flattened_into_fields(
    control: Control, acme: httpx.AsyncClient, fields: dict[str, str]
) -> None:
    last = next(reversed(fields)).replace("type", "{}")
    parts = {**fields, last.format("name"): "V", last.format("text"): "new"}
    answer = await acme.patch(
        f"{PATH}/settings", files={name: (None, value) for name, value in parts.items()}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["tags"] == ["x"]
    assert await environment(control) == {"V": "new", "S": "hush"}


@pytest.mark.parametrize(
    "settings",
    [
        b'{"limits":{"warp":1}}',
        b'{"bindings":[{"name":"K","type":"kv_namespace","namespace_id":"1"}]}',
        b'{"tags":[""]}',
        b'{"tail_consumers":[{"service":"x"}]}',
        b'{"compatibility_date":"today"}',
        b"[]",
        b"{",
    ],
)
async def test_bad_settings_change_nothing(
    control: Control, acme: httpx.AsyncClient, settings: bytes
) -> None:
    before = await result(acme, "settings")
    assert (await patch(acme, settings)).status_code == 400
    assert await result(acme, "settings") == before
    assert len(control.launcher.launched) == 1


async def test_tags_belong_to_the_script(control: Control, acme: httpx.AsyncClient) -> None:
    assert (await acme.put(f"{PATH}/tags", content=b'["p","q","p"]')).json()["result"] == ["p", "q"]
    assert (await acme.put(f"{PATH}/tags/r%2Fs")).json()["result"] == ["p", "q", "r/s"]
    assert (await acme.delete(f"{PATH}/tags/r%2Fs")).json()["result"] is None
    assert (await acme.put(f"{PATH}/tags/r")).json()["result"] == ["p", "q", "r"]
    assert (await acme.delete(f"{PATH}/tags/p")).json()["result"] is None
    assert len(control.launcher.launched) == 1
    await acme.put(f"{PATH}/secrets", json={"name": "N", "text": "n"})
    assert await result(acme, "tags") == ["q", "r"]
    await acme.put(PATH, files=upload_parts())
    assert await result(acme, "tags") == ["q", "r"]
    assert (await result(acme, "settings"))["tags"] == ["q", "r"]
    await acme.put(PATH, files=upload_parts({"tags": []}))
    assert await result(acme, "tags") == []
    many = [str(number) for number in range(40)]
    assert (await acme.put(f"{PATH}/tags", json=many)).status_code == 400


async def test_unversioned_settings(control: Control, acme: httpx.AsyncClient) -> None:
    path = "/client/v4/accounts/platform/workers/scripts/acme/script-settings"
    answer = await acme.patch(path, content=b'{"observability":{"enabled":true},"tags":["x"]}')
    assert answer.json()["result"]["tags"] == ["x"]
    assert (await acme.get(path)).json()["result"]["tags"] == ["x"]
    assert (await acme.patch(path, content=b'{"limits":{"cpu_ms":1}}')).status_code == 400
    assert len(control.launcher.launched) == 1


async def test_many_secrets_at_once(control: Control, acme: httpx.AsyncClient) -> None:
    body = b'{"secrets":{"A":{"name":"A","text":"1","type":"secret_text"},"S":null,"none":null}}'
    answer = await acme.patch(
        f"{PATH}/secrets-bulk",
        content=body,
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.json()["result"] == [{"name": "A", "type": "secret_text"}]
    assert await environment(control) == {"A": "1", "V": "v"}
    assert len(control.launcher.launched) == 2
    for bad in (b'{"secrets":{"a b":{"text":"x"}}}', b'{"secrets":{"B":{"text":"x","type":"y"}}}'):
        assert (await acme.patch(f"{PATH}/secrets-bulk", content=bad)).status_code == 400
    assert await environment(control) == {"A": "1", "V": "v"}


async def test_code_alone_keeps_the_rest(control: Control, acme: httpx.AsyncClient) -> None:
    parts = upload_parts({"main_module": "other.py"}, other=b"x = 2")
    answer = await acme.put(f"{PATH}/content", files=parts)
    assert answer.status_code == 200, answer.text
    content = await acme.get(f"{PATH}/content")
    assert (content.content, content.headers["cf-entrypoint"]) == (b"x = 2", "other.py")
    assert await environment(control) == {"V": "v", "S": "hush"}
    assert (await result(acme, "settings"))["limits"] == {"cpu_ms": 7}
    nameless = {"other.py": ("other.py", b"x = 3", "text/x-python")}
    assert (await acme.put(f"{PATH}/content", files=nameless)).status_code == 200
    assert (await acme.get(f"{PATH}/content")).content == b"x = 3"
    assert (await acme.put(f"{PATH}/content", files=upload_parts())).status_code == 200
    missing = await acme.put(f"{script_path('beta')}/content", files=upload_parts())
    assert missing.json()["errors"][0]["code"] == 10092


async def test_deleting_by_tag(operator: httpx.AsyncClient) -> None:
    scripts = PATH.rsplit("/", 1)[0]
    for name, tags in [("a", ["x", "y"]), ("b", ["x"]), ("c", [])]:
        await operator.put(script_path(name), files=upload_parts({"tags": tags}))
    for query in ("", "?tags=", "?tags=x:no", "?tags=a:yes:no"):
        assert (await operator.delete(scripts + query)).status_code == 400
    assert (await operator.delete(f"{scripts}?tags=x:yes,y:no")).json()["success"] is True
    listed = (await operator.get(scripts)).json()["result"]
    assert [item["id"] for item in listed] == ["a", "c"]


async def test_renaming_a_namespace(control: Control, operator: httpx.AsyncClient) -> None:
    base = "/client/v4/accounts/platform/workers/dispatch/namespaces"
    await operator.post(base, json={"name": "stage"})
    await operator.post(base, json={"name": "taken"})
    renamed = (await operator.put(f"{base}/stage", json={"name": "stage2"})).json()["result"]
    assert renamed["namespace_name"] == "stage2"
    assert (await operator.get(f"{base}/stage")).status_code == 404
    await operator.put(script_path("acme", namespace="stage2"), files=upload_parts())
    for name, new, status in [
        ("stage2", "stage3", 409),
        ("stage2", "taken", 409),
        ("stage2", "stage2", 200),
        ("production", "other", 409),
        ("taken", "Bad", 400),
        ("none", "other", 404),
    ]:
        answer = await operator.put(f"{base}/{name}", json={"name": new})
        assert answer.status_code == status, (name, new, answer.text)
    async with control.client(await control.tenant("t")) as tenant:
        path = f"{base.replace('platform', 't')}/taken"
        assert (await tenant.put(path, json={"name": "mine"})).status_code == 403
