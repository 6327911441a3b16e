"""Versions that wait and versions that serve, at a real node's hostname."""

from __future__ import annotations

import json
import threading

import httpx

from tests.support.node import LiveNode

WORKER = "/client/v4/accounts/platform/workers/scripts"


def source(word: str) -> str:
    return (
        "from workers import Response, WorkerEntrypoint\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        f"        return Response({word!r} + (getattr(self.env, 'S', None) or ''))\n"
    )


def add(node: LiveNode, name: str, code: str) -> httpx.Response:
    files = {
        "metadata": (None, json.dumps({"main_module": "main.py"}), "application/json"),
        "main.py": ("main.py", code, "text/x-python"),
    }
    return node.api.post(f"{WORKER}/{name}/versions", files=files)


def serve(node: LiveNode, name: str, version: str) -> httpx.Response:
    share = {"version_id": version, "percentage": 100}
    return node.api.post(f"{WORKER}/{name}/deployments", json={"versions": [share]})


def test_a_version_serves_from_its_deployment_on(node: LiveNode) -> None:
    first = node.deploy("staged", source("one"))["deployment_id"]
    second = add(node, "staged", source("two")).json()["result"]["id"]
    assert node.request("staged").text == "one"
    serve(node, "staged", second).raise_for_status()
    assert node.request("staged").text == "two"
    serve(node, "staged", first).raise_for_status()
    assert node.request("staged").text == "one"
    # the same one again is no harm
    serve(node, "staged", first).raise_for_status()
    assert node.request("staged").text == "one"


def test_what_does_not_start_is_no_version(node: LiveNode) -> None:
    node.deploy("firm", source("one"))
    refused = add(node, "firm", "def f(:\n")
    assert refused.json()["errors"][0]["code"] == 10021
    assert "main.py:1" in refused.json()["errors"][0]["message"]
    assert node.request("firm").text == "one"


def test_settings_and_secrets_reach_the_next_request(node: LiveNode) -> None:
    node.deploy("tuned", source("x"))
    secrets = {"secrets": {"S": {"text": "-hush"}}}
    node.api.patch(f"{WORKER}/tuned/secrets-bulk", json=secrets).raise_for_status()
    assert node.request("tuned").text == "x-hush"
    plain = b'{"bindings":[{"name":"S","type":"plain_text","text":"-plain"}]}'
    changed = node.api.patch(f"{WORKER}/tuned/settings", files={"settings": (None, plain)})
    assert changed.status_code == 200, changed.text
    assert node.request("tuned").text == "x-plain"
    node.api.put(f"{WORKER}/tuned/tags", json=["t"]).raise_for_status()
    assert node.request("tuned").text == "x-plain"


def test_nobody_notices_that_versions_change(node: LiveNode) -> None:
    versions = [node.deploy("swapped", source("one"))["deployment_id"]]
    versions.append(add(node, "swapped", source("two")).json()["result"]["id"])
    answers: list[tuple[int, str]] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=node.url, headers={"Host": "swapped.localhost"}) as client:
            while not done.is_set():
                answer = client.get("/")
                answers.append((answer.status_code, answer.text))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for turn in range(10):
            serve(node, "swapped", versions[turn % 2]).raise_for_status()
    finally:
        done.set()
        for asker in askers:
            asker.join()
    assert set(answers) == {(200, "one"), (200, "two")}


def split(node: LiveNode, name: str, **shares: float) -> dict[str, float]:
    versions = [
        {"version_id": key.replace("_", "-").removeprefix("v-"), "percentage": share}
        for key, share in shares.items()
    ]
    answer = node.api.post(f"{WORKER}/{name}/deployments", json={"versions": versions})
    assert answer.status_code == 200, answer.text
    return {item["version_id"]: item["percentage"] for item in answer.json()["result"]["versions"]}


def keys(node: LiveNode, name: str, count: int = 200) -> dict[int, str]:
    """What clients with a key of their own each get."""
    return {
        number: node.request(
            name, headers={"Cloudflare-Workers-Version-Key": f"user-{number}"}
        ).text
        for number in range(count)
    }


def test_a_gradual_deployment_is_sticky_and_grows(node: LiveNode) -> None:
    first = node.deploy("gradual", source("one"))["deployment_id"]
    second = add(node, "gradual", source("two")).json()["result"]["id"]
    old, new = (f"v_{version.replace('-', '_')}" for version in (first, second))

    assert split(node, "gradual", **{old: 80, new: 20}) == {first: 80, second: 20}
    before = keys(node, "gradual")
    assert before == keys(node, "gradual")
    assert 15 <= list(before.values()).count("two") <= 70
    assert {node.request("gradual").text for _ in range(100)} == {"one", "two"}

    split(node, "gradual", **{old: 40, new: 60})
    after = keys(node, "gradual")
    assert {after[number] for number, text in before.items() if text == "two"} == {"two"}
    assert list(after.values()).count("two") > list(before.values()).count("two")

    split(node, "gradual", **{old: 100, new: 0})
    assert set(keys(node, "gradual", 40).values()) == {"one"}
    override = {"Cloudflare-Workers-Version-Overrides": f'other="x", gradual="{second}"'}
    assert node.request("gradual", headers=override).text == "two"
    nonsense = {"Cloudflare-Workers-Version-Overrides": 'gradual="nothing", ='}
    assert node.request("gradual", headers=nonsense).text == "one"

    serve(node, "gradual", second).raise_for_status()
    assert {node.request("gradual").text for _ in range(20)} == {"two"}
    serve(node, "gradual", first).raise_for_status()
    assert {node.request("gradual").text for _ in range(20)} == {"one"}
