from __future__ import annotations

import email
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from typer.testing import Result

from gateway import __version__

if TYPE_CHECKING:
    from tests.gateway.cli.conftest import ScriptedApi

Waypost = Callable[..., Result]
SCRIPT = "/client/v4/accounts/platform/workers/dispatch/namespaces/production/scripts/hello"


def envelope(result: object) -> dict[str, object]:
    return {"success": True, "errors": [], "messages": [], "result": result}


def test_version(waypost: Waypost) -> None:
    assert waypost("--version").stdout == f"waypost {__version__}\n"


def test_every_command_has_help_with_examples(waypost: Waypost) -> None:
    commands = ["deploy", "init", "tail", "serve", "demo", "doctor", "login", "plans"]
    groups = {
        "tenants": ["list", "add", "show", "set", "remove", "suspend", "resume"],
        "routes": ["list", "add", "verify", "remove", "import"],
        "tokens": ["create", "list", "revoke"],
        "scripts": ["list", "show", "delete"],
        "schedules": ["list", "set", "run"],
    }
    lines = [[name] for name in commands]
    lines += [[group, name] for group, names in groups.items() for name in names]
    for line in lines:
        result = waypost(*line, "--help")
        assert result.exit_code == 0, line
        assert "Examples" in result.stdout, line
        assert "waypost " + " ".join(line) in result.stdout, line
        assert "--json" in result.stdout, line


@pytest.mark.parametrize("template", ["worker", "fastapi", "flask"])
def test_init_makes_what_deploy_sends(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path, template: str
) -> None:
    api.says(f"PUT {SCRIPT}", envelope({"startup_time_ms": 5, "waypost": {"urls": ["http://u/"]}}))
    assert waypost("init", "hello", "--template", template).exit_code == 0
    assert "{{name}}" not in (tmp_path / "hello/README.md").read_text()
    compile((tmp_path / "hello/src/entry.py").read_text(), "entry.py", "exec")
    result = waypost("deploy", "hello", "--api", api.url, "--token", "t", "--secret", "K=a=b")
    assert result.exit_code == 0, result.stderr
    assert "started in 5 ms" in result.stdout
    assert "http://u/" in result.stdout
    (seen,) = api.seen
    assert seen.headers["authorization"] == "Bearer t"
    parts = parse_multipart(seen.headers["content-type"], seen.body)
    assert list(parts)[:2] == ["metadata", "entry.py"]
    metadata = json.loads(parts["metadata"])
    assert metadata["main_module"] == "entry.py"
    assert metadata["compatibility_flags"] == ["python_workers"]
    assert metadata["bindings"] == [
        {"name": "GREETING", "type": "plain_text", "text": "Hello"},
        {"name": "K", "type": "secret_text", "text": "a=b"},
    ]
    assert parts["entry.py"] == (tmp_path / "hello/src/entry.py").read_bytes()
    assert ("templates/index.html" in parts) == (template == "flask")


def parse_multipart(content_type: str, body: bytes) -> dict[str, bytes]:
    message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts = {}
    for part in message.walk():
        if part.get_content_maintype() != "multipart":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            parts[str(part.get_param("name", header="content-disposition"))] = content
    return parts


def test_init_never_overwrites(waypost: Waypost, tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/mine.txt").write_text("mine")
    result = waypost("init", "hello")
    assert result.exit_code == 1
    assert "not empty" in result.stderr
    assert [path.name for path in (tmp_path / "hello").iterdir()] == ["mine.txt"]


def test_a_tenants_token_deploys_to_its_own_account(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    (tmp_path / "hello.py").write_text("")
    api.account = "acme"
    warning = {"code": 10000, "message": "the limit was lowered to the plan's"}
    path = SCRIPT.replace("platform", "acme")
    api.says(f"PUT {path}", envelope({}) | {"messages": [warning]})
    result = waypost("deploy", "hello.py", "--api", api.url)
    assert result.exit_code == 0, result.stderr
    assert "lowered to the plan's" in result.stderr


def test_a_refused_deploy_shows_the_tenants_own_line(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    (tmp_path / "hello.py").write_text("a = 1\nb = = 2\nc = 3\n")
    message = "SyntaxError: invalid syntax\n  at hello.py:2"
    entry = {"code": 10021, "message": message}
    error = {"success": False, "errors": [entry], "result": None}
    api.says(f"PUT {SCRIPT}", error, 400)
    result = waypost("deploy", "hello.py", "--api", api.url)
    assert result.exit_code == 1
    assert "b = = 2" in result.stderr
    assert "hello.py:2" in result.stderr
    assert "(10021)" in result.stderr
    as_json = waypost("deploy", "hello.py", "--api", api.url, "--json")
    assert json.loads(as_json.stderr)["error"]["code"] == "10021"
    assert as_json.stdout == ""


def test_a_refusal_cannot_make_deploy_show_a_foreign_file(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("hidden treasure\n")
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj/hello.py").write_text("")
    error = {"success": False, "errors": [{"code": 10021, "message": "x\n  at ../secret.txt:1"}]}
    api.says(f"PUT {SCRIPT}", error, 400)
    result = waypost("deploy", "proj/hello.py", "--api", api.url)
    assert result.exit_code == 1
    assert "hidden treasure" not in result.output


def test_secrets_come_from_the_environment_when_they_have_no_value(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hello.py").write_text("")
    monkeypatch.setenv("API_KEY", "s3cret")
    api.says(f"PUT {SCRIPT}", envelope({}))
    assert waypost("deploy", "hello.py", "--api", api.url, "--secret", "API_KEY").exit_code == 0
    assert b"s3cret" in api.seen[0].body
    missing = waypost("deploy", "hello.py", "--api", api.url, "--secret", "NOT_SET")
    assert missing.exit_code == 2
    assert len(api.seen) == 1


def test_without_a_node_the_error_says_how_to_start_one(waypost: Waypost) -> None:
    result = waypost("plans", "--api", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "waypost serve" in result.stderr
    as_json = waypost("plans", "--api", "http://127.0.0.1:1", "--json")
    assert "waypost serve" in json.loads(as_json.stderr)["error"]["fix"]


def test_a_missing_token_leads_to_login(waypost: Waypost, api: ScriptedApi) -> None:
    refusal = {"code": "unauthorised", "message": "no token", "fix": "send the header"}
    api.says("GET /v1/plans", {"error": refusal}, 401)
    api.says(
        f"GET {SCRIPT}",
        {
            "success": False,
            "errors": [{"code": 7, "message": "m", "error_chain": [{"message": "f"}]}],
        },
        404,
    )
    shown = json.loads(waypost("scripts", "show", "hello", "--json", "--api", api.url).stderr)
    assert shown == {"error": {"message": "m", "fix": "f", "code": "7"}}
    result = waypost("plans", "--api", api.url)
    assert result.exit_code == 1
    assert "no token" in result.stderr
    assert "waypost login" in result.stderr


def test_the_tenants_port_is_recognised_as_the_wrong_one(
    waypost: Waypost, api: ScriptedApi
) -> None:
    api.answers["GET /v1/plans"] = lambda request, body: Response("<html>", 200)
    assert "8788" in waypost("plans", "--api", api.url).stderr


def test_login_checks_then_remembers(waypost: Waypost, api: ScriptedApi, home: Path) -> None:
    assert waypost("login", "--api", api.url, "--token", "bad").exit_code == 1
    assert not home.exists()
    api.says("GET /client/v4/user/tokens/verify", envelope({"status": "active"}))
    api.says("GET /v1/plans", {"plans": {"free": {"cpu_ms": 10}}})
    assert waypost("login", "--api", api.url, "--token", "good").exit_code == 0
    assert stat.S_IMODE((home / "waypost/credentials.json").stat().st_mode) == 0o600
    assert waypost("plans").exit_code == 0
    assert api.seen[-1].headers["authorization"] == "Bearer good"
    assert waypost("logout").exit_code == 0
    assert "good" not in (home / "waypost/credentials.json").read_text()


def test_tenants(waypost: Waypost, api: ScriptedApi) -> None:
    row = {"slug": "acme", "plan": "pro", "status": "suspended", "name": "Acme"}
    api.says("PUT /v1/tenants/acme", row)
    api.says("GET /v1/tenants/acme", row)
    api.says("GET /v1/tenants", {"tenants": [row]})
    api.says("DELETE /v1/tenants/acme", None)
    at = ("--api", api.url)
    assert waypost("tenants", "add", "acme", "--plan", "pro", *at).exit_code == 0
    assert json.loads(api.seen[-1].body) == {"plan": "pro"}
    assert waypost("tenants", "suspend", "acme", *at).exit_code == 0
    assert json.loads(api.seen[-1].body) == {"status": "suspended"}
    assert waypost("tenants", "set", "acme", *at).exit_code == 2
    assert json.loads(waypost("tenants", "list", "--json", *at).stdout) == [row]
    assert "suspended" in waypost("tenants", "list", *at).stdout
    assert "Acme" in waypost("tenants", "show", "acme", *at).stdout
    refused = waypost("tenants", "remove", "acme", *at, stdin="n\n")
    assert refused.exit_code == 1
    assert api.seen[-1].method == "GET"
    assert waypost("tenants", "remove", "acme", "--yes", *at).exit_code == 0
    assert api.seen[-1].method == "DELETE"


def test_names_stay_in_their_place_in_a_path(waypost: Waypost, api: ScriptedApi) -> None:
    waypost("tenants", "show", "../routes", "--api", api.url)
    waypost("routes", "add", "a/b?x=1", "hello", "--api", api.url)
    assert waypost("tenants", "show", "..", "--api", api.url).exit_code == 2
    assert [seen.path for seen in api.seen] == [
        "/v1/tenants/..%2Froutes",
        "/v1/routes/a%2Fb%3Fx%3D1",
    ]


def test_a_hostname_that_waits_says_what_to_publish(waypost: Waypost, api: ScriptedApi) -> None:
    row: dict[str, object] = {
        "hostname": "shop.example",
        "script": "acme",
        "status": "pending",
        "ownership_verification": {"name": "_cf-custom-hostname.shop.example", "value": "v4lue"},
        "ownership_verification_http": {"http_url": "http://shop.example/.well-known/x"},
    }
    api.says("PUT /v1/routes/shop.example", row)
    at = ("--api", api.url)
    said = waypost("routes", "add", "shop.example", "acme", *at).stdout
    assert "waits until it is shown to be yours: it has not been looked for yet" in said
    assert "_cf-custom-hostname.shop.example" in said
    assert "v4lue" in said.split()
    assert "waypost routes verify shop.example" in said
    verify = "POST /v1/routes/shop.example/verify"
    api.says(verify, row | {"verification_errors": ["there is no TXT record"]})
    assert "there is no TXT record" in waypost("routes", "verify", "shop.example", *at).stdout
    api.says(verify, {"hostname": "shop.example", "script": "acme", "status": "active"})
    assert "shop.example → acme" in waypost("routes", "verify", "shop.example", *at).stdout
    api.says("GET /v1/routes", {"routes": [row], "after": ""})
    assert "shop.example" in waypost("routes", "list", "--pending", *at).stdout
    assert api.seen[-1].query["status"] == "pending"


def test_lists_are_read_page_by_page(
    waypost: Waypost, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"h{number}.example.com" for number in range(5)]

    def page(request: Request, body: bytes) -> Response:
        after = request.query_params.get("after", "")
        limit = int(request.query_params["limit"])
        rows = [{"hostname": host, "script": "a"} for host in hosts if host > after]
        return JSONResponse({"routes": rows[:limit]})

    api.answers["GET /v1/routes"] = page
    monkeypatch.setattr("gateway.cli.listing.PAGE", 2)
    result = waypost("routes", "list", "--json", "--api", api.url)
    assert [row["hostname"] for row in json.loads(result.stdout)] == hosts
    assert [seen.query.get("after") for seen in api.seen] == [None, hosts[1], hosts[3]]
    some = waypost("routes", "list", "--limit", "3", "--json", "--api", api.url)
    assert [row["hostname"] for row in json.loads(some.stdout)] == hosts[:3]


def test_import_streams_json_lines_from_either_format(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    api.says("POST /v1/routes/bulk", {"routes": 2, "tenants_created": 0})
    (tmp_path / "a.csv").write_text("hostname,script\na.example.com,acme\nb.example.com, acme\n\n")
    result = waypost("routes", "import", "a.csv", "--api", api.url)
    assert result.exit_code == 0, result.stderr
    assert "2 hostnames" in result.stdout
    expected = [
        {"hostname": "a.example.com", "script": "acme"},
        {"hostname": "b.example.com", "script": "acme"},
    ]
    assert [json.loads(line) for line in api.seen[-1].body.splitlines()] == expected
    lines = "\n".join(json.dumps(row) for row in expected)
    assert waypost("routes", "import", "-", "--api", api.url, stdin=lines).exit_code == 0
    assert [json.loads(line) for line in api.seen[-1].body.splitlines()] == expected


@pytest.mark.parametrize(
    "line", ["a.example.com", "{", '{"hostname": "a"}', '{"hostname": 1}', "[]"]
)
def test_import_names_the_wrong_line(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path, line: str
) -> None:
    (tmp_path / "a.txt").write_text(f"ok.example.com,acme\n{line}\n")
    result = waypost("routes", "import", "a.txt", "--api", api.url)
    assert result.exit_code == 1
    assert "line 2" in result.stderr


def test_tokens_are_shown_once_on_standard_output(waypost: Waypost, api: ScriptedApi) -> None:
    api.says("POST /v1/tenants/acme/tokens", {"id": "1", "token": "wp_secret", "label": "ci"})
    result = waypost("tokens", "create", "acme", "--label", "ci", "--api", api.url)
    assert result.stdout == "wp_secret\n"
    assert "Shown once" in result.stderr


def test_scripts_and_plans(waypost: Waypost, api: ScriptedApi) -> None:
    row = {"name": "hello", "tenant": "t", "modified_on": "2026-11-20T10:00:00.000000Z"}
    api.says("GET /v1/scripts", {"scripts": [row | {"urls": ["http://hello.localhost"]}]})
    api.says(f"GET {SCRIPT}", envelope({"dispatch_namespace": "production", "script": row}))
    api.says(f"DELETE {SCRIPT}", envelope(None))
    api.says("GET /v1/plans", {"plans": {"free": {"cpu_ms": 10}, "pro": {"cpu_ms": 20}}})
    at = ("--api", api.url)
    assert "2026-11-20 10:00:00" in waypost("scripts", "list", *at).stdout
    assert "production" in waypost("scripts", "show", "hello", *at).stdout
    assert waypost("scripts", "delete", "hello", "-y", *at).exit_code == 0
    plans = waypost("plans", *at).stdout.split()
    assert plans == ["LIMIT", "free", "pro", "cpu_ms", "10", "20"]


def stream(*items: dict[str, object]) -> Callable[[Request, bytes], Response]:
    def chunks() -> Iterator[str]:
        yield ": connected\n\n"
        for item in items:
            yield f"data: {json.dumps(item)}\n\n"

    return lambda request, body: StreamingResponse(chunks(), media_type="text/event-stream")


def test_tail_reconnects_with_a_word_and_filters(
    waypost: Waypost, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends twice; the third answer refuses, which ends the command."""
    pauses: list[float] = []
    monkeypatch.setattr("gateway.cli.events.time.sleep", pauses.append)
    good: dict[str, object] = {"outcome": "ok", "n": 1}
    bad: dict[str, object] = {"outcome": "exception", "n": 2}
    answers = iter([stream(good, bad), stream(bad)])

    def answer(request: Request, body: bytes) -> Response:
        following = next(answers, None)
        if following is None:
            return JSONResponse({"error": {"code": "gone", "message": "script is gone"}}, 404)
        return following(request, body)

    api.answers["GET /v1/scripts/hello/tail"] = answer
    result = waypost("tail", "hello", "--status", "error", "--json", "--api", api.url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [bad, bad]
    assert result.exit_code == 1
    assert "Connected" in result.stderr
    assert "Reconnected" in result.stderr
    assert "script is gone" in result.stderr
    assert pauses == [0.25, 0.25]


def test_tail_says_that_a_script_is_not_there_yet(waypost: Waypost, api: ScriptedApi) -> None:
    said = {"code": 10007, "message": "script 'hello' not found"}
    api.says(f"GET {SCRIPT}", {"success": False, "errors": [said]}, 404)
    api.says("GET /v1/scripts/hello/tail", {"error": {"message": "enough"}}, 400)
    assert (
        "'hello' not found; its requests are" in waypost("tail", "hello", "--api", api.url).stderr
    )


def test_tail_of_a_tenant(waypost: Waypost, api: ScriptedApi) -> None:
    api.says("GET /v1/tenants/acme/tail", {"error": {"message": "no such tenant"}}, 404)
    assert "no such tenant" in waypost("tail", "--tenant", "acme", "--api", api.url).stderr
    assert waypost("tail", "--api", api.url).exit_code == 2
    assert waypost("tail", "hello", "--tenant", "acme", "--api", api.url).exit_code == 2


def test_tail_with_no_node_fails_at_once(waypost: Waypost) -> None:
    assert waypost("tail", "hello", "--api", "http://127.0.0.1:1").exit_code == 1


def test_a_wrong_configuration_ends_serve_with_its_place(waypost: Waypost, tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text("plans:\n  free:\n    cpu_mz: 3\n")
    result = waypost("serve")
    assert result.exit_code == 2
    assert "routing.yaml:3" in result.stderr
    assert waypost("serve", "--config", "gone.yaml").exit_code == 2


def test_schedules_are_listed_set_and_run(waypost: Waypost, api: ScriptedApi) -> None:
    known = {"cron": "*/5 * * * *", "waypost": {"next": "2026-11-21T07:05:00.000000Z"}}
    for method in ("GET", "PUT"):
        api.says(f"{method} {SCRIPT}/schedules", envelope({"schedules": [known]}))
    listed = waypost("schedules", "list", "hello", "--api", api.url)
    assert "2026-11-21 07:05:00" in listed.stdout
    assert waypost("schedules", "set", "hello", "*/5 * * * *", "--api", api.url).exit_code == 0
    assert waypost("schedules", "set", "hello", "--none", "--api", api.url).exit_code == 0
    assert waypost("schedules", "set", "hello", "--api", api.url).exit_code == 2
    bodies = [json.loads(seen.body) for seen in api.seen if seen.method == "PUT"]
    assert bodies == [[{"cron": "*/5 * * * *"}], []]

    ran = {"cron": "*/5 * * * *", "outcome": "ok", "cpu_ms": 1.5, "wall_ms": 2.5}
    ran |= {"logs": [{"level": "log", "message": ["said"]}], "exceptions": [], "code": ""}
    api.says("POST /v1/scripts/hello/schedules/run", ran)
    well = waypost("schedules", "run", "hello", "--cron", "*/5 * * * *", "--api", api.url)
    assert (well.exit_code, "said" in well.stdout, "cpu 1.5 ms" in well.stdout) == (0, True, True)
    raised = {"name": "ValueError", "message": "no", "stack": ""}
    api.says(
        "POST /v1/scripts/hello/schedules/run",
        ran | {"outcome": "exception", "exceptions": [raised], "code": "1101"},
    )
    badly = waypost("schedules", "run", "hello", "--api", api.url)
    assert (badly.exit_code, "ValueError: no" in badly.stdout) == (1, True)


def test_a_deploy_sets_the_schedules_that_it_names(
    waypost: Waypost, api: ScriptedApi, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text("")
    given: list[dict[str, list[str]]] = [{}, {"crons": ["1 * * * *"]}, {"crons": []}]
    for sent, triggers in enumerate(given):
        config = {"name": "hello", "main": "main.py", "triggers": triggers}
        (tmp_path / "wrangler.json").write_text(json.dumps(config))
        api.says(f"PUT {SCRIPT}", envelope({}))
        api.says(f"PUT {SCRIPT}/schedules", envelope({"schedules": []}))
        assert waypost("deploy", str(tmp_path), "--api", api.url).exit_code == 0
        bodies = [json.loads(one.body) for one in api.seen if one.path.endswith("/schedules")]
        assert len(bodies) == sent
    assert bodies == [[{"cron": "1 * * * *"}], []]
