"""Cloudflare's own clients, unmodified, against a real node: what they deploy is what answers.

They are installed by ``tests/e2e/clients/install.sh DIR``; ``WAYPOST_TEST_CLIENTS`` names DIR.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import ENTRY, Wrangler, run
from tests.support.node import OPERATOR_TOKEN, LiveNode
from tests.support.served import wait_until

HERE = Path(__file__).parent / "clients"
# Each run of wrangler takes a second or two; on a busy machine, several.
pytestmark = pytest.mark.timeout(300)
Sdk = Callable[..., dict[str, Any]]


@pytest.fixture(
    params=["npm 4.5", "npm 5.2", "npm 6.5", "npm 7.3", "PyPI 4.3", "PyPI 5.9"], scope="module"
)
def sdk_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sdk(sdk_name: str, clients: Path, environment: dict[str, str]) -> Sdk:
    """Run the steps of one SDK."""
    registry, version = sdk_name.split()
    if registry == "npm":
        command = [str(clients / "bin/node"), str(HERE / "namespace.mjs"), str(clients)]
        command.append(version[0])
    else:
        environment["PYTHONPATH"] = str(clients / f"pypi-{version[0]}")
        command = [sys.executable, str(HERE / "namespace.py")]

    def steps(*arguments: str) -> dict[str, Any]:
        results: dict[str, Any] = json.loads(run([*command, *arguments], environment))
        return results

    return steps


def test_sdks(node: LiveNode, sdk: Sdk, sdk_name: str) -> None:
    name = "sdk-" + sdk_name.lower().replace(" ", "-").split(".")[0]
    result = sdk(name)
    failed = {step: given for step, given in result.items() if is_error(given)}
    assert set(failed) == {"namespace_missing", "broken"}, failed
    check_namespace_steps(result)
    check_script_steps(result, name)
    # what was broken did not go live; what came before it did
    word = "two" if "content_update" in result else "one"
    assert node.request(name).json() == {"word": word, "greeting": "edited"}
    gone = sdk(name, "delete")
    assert gone["delete"] is None
    assert (gone["missing"]["error"], gone["missing"]["status"]) == ("NotFoundError", 404)
    assert node.request(name).status_code == 404


def test_sdks_with_workers_of_the_account(node: LiveNode, sdk: Sdk, sdk_name: str) -> None:
    """Each asks by the hostname, in between, whether the code that answers is the right one."""
    name = "acc-" + sdk_name.lower().replace(" ", "-").split(".")[0]
    result = sdk(name, "account")
    assert {step: given for step, given in result.items() if is_error(given)} == {}
    words = [result[step] for step in ("one", "still_one", "two", "one_again", "first")]
    assert words == ["one", "one", "two", "one", "one"]
    assert name in result["list"]
    assert len(result["version_list"]) == 2
    assert result["schedules"]["schedules"][0]["cron"] == "*/5 * * * *"
    assert f"{name}.example" in result["domains"]
    assert (result["tagged"], result["left"]) == ([f"{name}-1", f"{name}-2"], [name])
    assert {node.request(gone).status_code for gone in (name, f"{name}-1", f"{name}-2")} == {404}


def is_error(given: Any) -> bool:
    return isinstance(given, dict) and "error" in given


def check_script_steps(result: dict[str, Any], name: str) -> None:
    assert (result["update"]["id"], result["get"]["script"]["id"]) == (name, name)
    assert result["get"]["dispatch_namespace"] == "production"
    assert result["update"]["tags"] == ["customer-1", "pro"]
    assert 'WORD = "one"' in result["content"]
    assert result["settings"]["bindings"] == result["bindings"]
    assert [(item["name"], item["type"]) for item in result["bindings"]] == [
        ("GREETING", "plain_text"),
        ("SECRET", "secret_text"),
    ]
    assert "hush" not in json.dumps(result)
    assert result["secret_get"]["name"] == "KEY"
    assert [item["name"] for item in result["secret_list"]] == ["KEY", "SECRET"]
    assert [item["name"] for item in result["secret_list_after"]] == ["SECRET"]
    assert result["tail_create"]["url"].startswith("ws://")
    assert result["tail_get"] == [result["tail_create"]]
    assert result["tail_delete"] is None or result["tail_delete"]["success"] is True
    assert (result["tags_update"], result["tags_list"]) == (["p", "q"], ["q"])
    assert result["settings_edit"]["bindings"][0]["text"] == "edited"
    assert (result["broken"]["error"], result["broken"]["status"]) == ("BadRequestError", 400)
    assert "SyntaxError" in result["broken"]["message"]
    assert "10021" in result["broken"]["message"]


def check_namespace_steps(result: dict[str, Any]) -> None:
    created = result["namespace_create"]
    assert result["namespace_get"]["namespace_id"] == created["namespace_id"]
    names = [item["namespace_name"] for item in result["namespace_list"]]
    assert {"production", created["namespace_name"]} <= set(names)
    assert result["namespace_missing"]["status"] == 404


def test_wrangler_into_a_dispatch_namespace(node: LiveNode, wrangler: Wrangler) -> None:
    wrangler.configure("wrangled")
    wrangler.write("secrets.json", '{"SECRET": "hush"}')
    into = ("deploy", "--dispatch-namespace", "production")
    said = wrangler(*into, "--secrets-file", "secrets.json")
    assert "Dispatch Namespace: production" in said
    assert "Current Version ID: undefined" not in said
    assert node.request("wrangled").json() == {
        "word": "one",
        "vendored": "vendored",
        "greeting": "hello",
        "answer": 42,
        "secret": "hush",
        "other": None,
    }
    wrangler.word("two")
    wrangler(*into)
    assert node.request("wrangled").json()["word"] == "two"
    assert node.request("wrangled").json()["secret"] == "hush"
    wrangler.write("entry.py", "import os\ndef f(:\n")
    said = wrangler.fails(*into)
    assert "SyntaxError" in said
    assert "entry.py:2" in said
    assert "10021" in said
    assert node.request("wrangled").json()["word"] == "two"


def test_wrangler_manages_namespaces(wrangler: Wrangler) -> None:
    command = "dispatch-namespace"
    assert "platform" in wrangler("whoami")
    assert 'Created dispatch namespace "stage"' in wrangler(command, "create", "stage")
    assert "production" in wrangler(command, "list")
    wrangler(command, "rename", "stage", "staging")
    assert "namespace_name: 'staging'" in wrangler(command, "get", "staging")
    assert "100119" in wrangler.fails(command, "get", "stage")
    wrangler(command, "delete", "staging")
    assert "staging" not in wrangler(command, "list")


def test_wrangler_with_a_worker_of_the_account(node: LiveNode, wrangler: Wrangler) -> None:
    route = {"pattern": "shop.example.com/*", "zone_name": "example.com"}
    wrangler.configure("shop", routes=[route])
    assert "shop.example.com/*" in wrangler("deploy")
    for host in ("shop.localhost", "shop.example.com"):
        assert node.request("shop", headers={"Host": host}).json()["word"] == "one"
    wrangler("secret", "put", "SECRET", stdin="hush\n")
    wrangler.write("bulk.json", '{"OTHER": "more"}')
    wrangler("secret", "bulk", "bulk.json")
    assert wrangler.secrets() == ["OTHER", "SECRET"]
    wrangler.word("two")
    wrangler("deploy", "--message", "the second", "--tag", "v2")
    answer = node.request("shop").json()
    assert (answer["word"], answer["secret"], answer["other"]) == ("two", "hush", "more")
    wrangler("secret", "delete", "OTHER")
    assert wrangler.secrets() == ["SECRET"]
    assert node.request("shop").json()["other"] is None
    wrangler("delete", "--force")
    assert node.request("shop").status_code == 404


def test_wrangler_versions_and_rollback(node: LiveNode, wrangler: Wrangler) -> None:
    wrangler.configure("versioned")
    wrangler("deploy")
    wrangler.word("two")
    wrangler("versions", "upload", "--message", "not yet", "--tag", "v2")
    assert node.request("versioned").json()["word"] == "one"
    listed = wrangler("versions", "list")
    assert "not yet" in listed
    newest = listed.rsplit("Version ID:", 1)[1].split()[0]
    wrangler("versions", "deploy", f"{newest}@100%", "-y")
    assert node.request("versioned").json()["word"] == "two"
    wrangler("versions", "secret", "put", "SECRET", stdin="hush\n")
    assert node.request("versioned").json()["secret"] is None
    wrangler("rollback", "-y")
    assert node.request("versioned").json()["word"] == "one"
    assert "Rollback" in wrangler("deployments", "list")


def test_wrangler_schedules_and_previews(node: LiveNode, wrangler: Wrangler) -> None:
    path = "/client/v4/accounts/platform/workers/scripts/timed/schedules"

    def crons() -> list[str]:
        return [item["cron"] for item in node.api.get(path).json()["result"]["schedules"]]

    entry = ENTRY + "    async def scheduled(self, controller, env, ctx):\n        print('due')\n"
    wrangler.write("entry.py", entry)
    wrangler.configure("timed", workers_dev=True, triggers={"crons": ["*/5 * * * *", "0 7 * * 2"]})
    assert "*/5 * * * *" in wrangler("deploy")
    assert crons() == ["*/5 * * * *", "0 7 * * 2"]
    ran = node.api.post("/v1/scripts/timed/schedules/run", json={"cron": "0 7 * * 2"}).json()
    assert (ran["outcome"], ran["logs"][0]["message"]) == ("ok", ["due"]), ran
    wrangler.configure("timed", workers_dev=True, triggers={"crons": ["0 0 31 2 *"]})
    assert "10100" in wrangler.fails("triggers", "deploy")
    assert crons() == ["*/5 * * * *", "0 7 * * 2"]
    wrangler.word("two")
    said = wrangler("versions", "upload", "--preview-alias", "staging")
    shown = dict(line.split(": https://") for line in said.splitlines() if "Preview" in line)
    by_id, by_alias = shown["Version Preview URL"], shown["Version Preview Alias URL"]
    assert by_alias.startswith("staging-timed.localhost")
    for host in (by_id, by_alias):
        assert node.request(host.split(".")[0]).json()["word"] == "two"
    assert node.request("timed").json()["word"] == "one"


def test_wrangler_deploys_gradually(node: LiveNode, wrangler: Wrangler) -> None:
    wrangler.configure("gradually")
    wrangler("deploy")
    wrangler.word("two")
    wrangler("versions", "upload")
    old, new = (part.split()[0] for part in wrangler("versions", "list").split("Version ID:")[1:3])
    wrangler("versions", "deploy", f"{old}@30%", f"{new}@70%", "-y")
    shown = wrangler("deployments", "status")
    assert "(30%)" in shown
    assert "(70%)" in shown

    def asked(number: int) -> str:
        key = {"Cloudflare-Workers-Version-Key": f"user-{number}"}
        return str(node.request("gradually", headers=key).json()["word"])

    words = [asked(number) for number in range(60)]
    assert set(words) == {"one", "two"}
    assert words == [asked(number) for number in range(60)]
    wrangler("versions", "deploy", f"{new}@100%", "-y")
    assert {asked(number) for number in range(20)} == {"two"}


def test_wrangler_with_a_token_for_one_script(node: LiveNode, wrangler: Wrangler) -> None:
    node.api.put("/v1/tenants/narrow").raise_for_status()
    body = {"script": "narrow-shop"}
    token = node.api.post("/v1/tenants/narrow/tokens", json=body).json()["token"]
    wrangler.configure("narrow-shop")
    for _ in range(2):
        wrangler("deploy", token=token)
    assert node.request("narrow-shop").json()["word"] == "one"
    wrangler("secret", "put", "SECRET", stdin="hush\n", token=token)
    assert node.request("narrow-shop").json()["secret"] == "hush"
    wrangler.configure("narrow-other")
    assert "narrow-shop" in wrangler.fails("deploy", token=token)


def test_wrangler_as_a_tenant(node: LiveNode, wrangler: Wrangler) -> None:
    node.api.put("/v1/tenants/trig", json={"plan": "pro"}).raise_for_status()
    issued = node.api.post("/v1/tenants/trig/tokens", json={"label": "wrangler"}).json()
    wrangler.configure("trig-app")
    wrangler("deploy", token=issued["token"])
    assert node.request("trig-app").json()["word"] == "one"
    wrangler.configure("other-app")
    said = wrangler.fails("deploy", token=issued["token"])
    assert "does not belong to tenant 'trig'" in said
    assert "bearer token is not valid" in wrangler.fails("deploy", token="wp_nobodys")


def test_wrangler_shows_what_is_not_possible(node: LiveNode, wrangler: Wrangler) -> None:
    wrangler.configure("refused", main="index.js")
    wrangler.write("index.js", "export default { fetch() { return new Response('x') } }")
    assert "no JavaScript runtime" in wrangler.fails("deploy")
    wrangler.configure("refused", kv_namespaces=[{"binding": "KV", "id": "0" * 32}])
    assert "'kv_namespace' is not available" in wrangler.fails("deploy")
    wrangler.write("entry.py", "x = {}['k']\n")
    wrangler.configure("refused")
    assert "KeyError: 'k'" in wrangler.fails("deploy")
    wrangler.write("entry.py", "while True: pass\n")
    assert "Script startup exceeded CPU time limit" in wrangler.fails("deploy")
    assert "script 'refused' not found" in wrangler.fails("tail", "refused")
    assert "10007" in wrangler.fails("versions", "list")
    assert node.request("refused").status_code == 404


def test_the_newest_wrangler(
    node: LiveNode, clients: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The flow of the older one's tests, once."""
    folder = tmp_path / "project"
    folder.mkdir()
    wrangler = Wrangler(folder, clients / "newest", environment)
    wrangler.configure("newest")
    wrangler("deploy")
    assert node.request("newest").json()["word"] == "one"
    wrangler("secret", "put", "SECRET", stdin="hush\n")
    wrangler.word("two")
    custom = {"pattern": "newest.example", "custom_domain": True}
    wrangler.configure("newest", routes=[custom])
    assert "newest.example" in wrangler("deploy", "--message", "the second", "--tag", "v2")
    answer = node.request("newest", headers={"Host": "newest.example"}).json()
    assert (answer["word"], answer["vendored"], answer["secret"]) == ("two", "vendored", "hush")
    wrangler.word("three")
    wrangler("versions", "upload", "--message", "not yet")
    newest = wrangler("versions", "list").rsplit("Version ID:", 1)[1].split()[0]
    assert node.request("newest").json()["word"] == "two"
    wrangler("versions", "deploy", f"{newest}@100%", "-y")
    assert node.request("newest").json()["word"] == "three"
    wrangler("rollback", "-y")
    assert node.request("newest").json()["word"] == "two"
    with wrangler.tail("newest", "--format", "pretty") as tail:
        tail.wait_for("waiting for logs")
        wait_until(lambda: bool(node.node.tail.listeners))
        node.request("newest", "/asked")
        tail.wait_for("GET http://newest.localhost/asked - ")
    wrangler("deploy", "--dispatch-namespace", "production")
    assert node.request("newest").json()["word"] == "three"
    wrangler("delete", "--force")
    assert node.request("newest").status_code == 404


@pytest.mark.parametrize("into", [(), ("--dispatch-namespace", "production")])
def test_wrangler_tail(node: LiveNode, wrangler: Wrangler, into: tuple[str, ...]) -> None:
    name = "tailed-into" if into else "tailed"
    wrangler.configure(name)
    wrangler.write("entry.py", "async def on_fetch(request, env, ctx):\n    print('heard', 1)\n")
    wrangler("deploy", *into)
    with wrangler.tail(name, "--format", "pretty", "--method", "GET") as tail:
        tail.wait_for("waiting for logs")
        # the socket is open as soon as it says so, but listens a moment later
        wait_until(lambda: bool(node.node.tail.listeners))
        node.request(name, method="POST")
        node.request(name, "/asked")
        tail.wait_for(f"GET http://{name}.localhost/asked - ")
        tail.wait_for("(log) heard 1")
        assert not any("POST" in line for line in tail.lines)
    with wrangler.tail(name, "--format", "pretty") as tail:
        tail.wait_for("waiting for logs")
        wait_until(lambda: bool(node.node.tail.listeners))
        wrangler("deploy", *into)
        tail.wait_for("(info) Deployed by")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_in_the_documentation(
    node: LiveNode, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "entry.py").write_text(ENTRY.replace("import vendored", "class vendored: NAME = 1"))
    (tmp_path / "words.py").write_text('WORD = "curled"')
    variables = [
        {"type": "plain_text", "name": "GREETING", "text": "hi"},
        {"type": "json", "name": "ANSWER", "json": {"a": 1}},
    ]
    metadata = {"main_module": "entry.py", "bindings": variables}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    base = environment["CLOUDFLARE_API_BASE_URL"]
    script = f"{base}/accounts/platform/workers/dispatch/namespaces/production/scripts/curled"
    bearer = ["-H", f"Authorization: Bearer {OPERATOR_TOKEN}"]
    modules = ["-F", "entry.py=@entry.py;type=text/x-python"]
    modules += ["-F", "words=@words.py;filename=lib/words.py;type=text/x-python"]
    for given in (
        f"metadata={json.dumps(metadata)};type=application/json",
        "metadata=@metadata.json",
    ):
        command = ["curl", "-sS", "-X", "PUT", script, *bearer, "-F", given, *modules]
        answer = json.loads(run(command, environment, cwd=tmp_path))
        assert answer["success"] is True, answer
        assert node.request("curled").json()["word"] == "curled"
    key = ["-H", "X-Auth-Email: me@example.com", "-H", f"X-Auth-Key: {OPERATOR_TOKEN}"]
    assert json.loads(run(["curl", "-sS", *key, script], environment))["success"] is True
    for refused in ([], ["-H", "Authorization: Bearer nobodys"]):
        answer = json.loads(run(["curl", "-sS", *refused, script], environment))
        assert (answer["success"], answer["result"]) == (False, None)
    removed = json.loads(run(["curl", "-sS", "-X", "DELETE", *bearer, script], environment))
    assert removed["result"] is None
    assert node.request("curled").status_code == 404
