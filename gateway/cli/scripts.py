"""``waypost scripts …`` and ``waypost plans``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from gateway.cli.client import ControlClient, segment
from gateway.cli.listing import items, walk
from gateway.cli.output import done, table
from gateway.cli.session import Session, examples, online
from gateway.cli.text import moment

app = typer.Typer(no_args_is_help=True, help="What tenants have deployed.")

DEFAULT_NAMESPACE = "production"
_SHOWN = ("handlers", "tags", "deployment_id", "etag", "created_on", "modified_on")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The script's name.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Dispatch namespace.")]
Account = Annotated[
    str | None,
    typer.Option(
        "--account",
        help="`platform` or a tenant. Default: whose token it is.",
        show_default=False,
    ),
]


def script_path(account: str, namespace: str, name: str) -> str:
    """The control API's path of a script."""
    base = f"/client/v4/accounts/{segment(account)}/workers/dispatch/namespaces"
    return f"{base}/{segment(namespace)}/scripts/{segment(name)}"


def find_path(client: ControlClient, account: str | None, namespace: str, name: str) -> str:
    """The path of a script in the account that was named, or else that the token is for."""
    if account is None:
        found = items(client.get("/client/v4/accounts"), "accounts")
        account = str(found[0].get("id")) if found else "platform"
    return script_path(account, namespace, name)


@app.command("list", epilog=examples("waypost scripts list", "waypost scripts list -n staging"))
@online
def list_scripts(
    session: Session,
    namespace: Namespace = "production",
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 1000,
) -> None:
    """List the scripts of a dispatch namespace that the token may see."""
    params: dict[str, str | int] = {"namespace": namespace}
    with session.client() as client:
        rows = walk(
            client, "/v1/scripts", ("scripts", "name"), params, limit=limit, cursor="cursor"
        )
    session.output.result(
        rows,
        lambda: table(
            "SCRIPT",
            "TENANT",
            "URL",
            "MODIFIED",
            rows=[_row(row) for row in rows],
            empty="Nothing is deployed here. Start: waypost init hello && waypost deploy hello",
        ),
    )


@app.command(
    "show", epilog=examples("waypost scripts show hello", "waypost scripts show hello --json")
)
@online
def show(
    session: Session,
    name: Name,
    namespace: Namespace = "production",
    account: Account = None,
) -> None:
    """Show one script: when it was deployed, its handlers and tags."""
    with session.client() as client:
        answer = client.get(find_path(client, account, namespace, name))
    session.output.result(answer, lambda: _details(answer))


@app.command("delete", epilog=examples("waypost scripts delete hello --yes"))
@online
def delete(
    session: Session,
    name: Name,
    namespace: Namespace = "production",
    account: Account = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a script and its versions; its hostnames answer 404 from the next request on."""
    if not yes:
        typer.confirm(f"Delete script {name} and all its versions?", abort=True, err=True)
    with session.client() as client:
        client.delete(find_path(client, account, namespace, name))
    session.output.result({"name": name, "removed": True}, lambda: done(f"Deleted script {name}"))


@online
def plans(session: Session) -> None:
    """Show the plans of this node and what each allows."""
    with session.client() as client:
        answer = client.get("/v1/plans")
    session.output.result(answer, lambda: _plan_table(answer))


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    urls = " ".join(map(str, row.get("urls") or []))
    return row.get("name"), row.get("tenant"), urls, moment(row.get("modified_on"))


def _details(answer: Any) -> RenderableType:
    """The answer as rows; what Cloudflare's shape nests stands beside the rest."""
    answer = answer if isinstance(answer, dict) else {}
    script = answer.get("script") or {}
    ours = script.get("waypost") or {}
    facts = {name: script.get(name) for name in _SHOWN} | ours
    facts = {"name": script.get("id"), "namespace": answer.get("dispatch_namespace")} | facts
    rows = [(name, _plain(value)) for name, value in facts.items() if value]
    return table("FIELD", "VALUE", rows=rows, empty="Nothing is known of it.")


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _plan_table(answer: Any) -> RenderableType:
    """Plans are columns and limits are rows, so that plans compare at a glance."""
    named = answer.get("plans", answer) if isinstance(answer, dict) else answer
    if isinstance(named, list):
        named = {str(plan.get("name")): plan.get("limits", plan) for plan in named}
    limits: dict[str, None] = {
        limit: None for plan in named.values() for limit in plan if limit != "name"
    }
    rows = [(limit, *(plan.get(limit, "") for plan in named.values())) for limit in limits]
    columns = ["LIMIT", *(f">{name}" for name in named)]
    return table(*columns, rows=rows, empty="This node has no plans.")
