"""``waypost schedules …``: times at which a script is called without being asked."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.client import segment
from gateway.cli.output import CliError, done, table
from gateway.cli.scripts import Account, Name, Namespace, find_path
from gateway.cli.session import Session, examples, online
from gateway.cli.text import moment, safe
from gateway.cli.trace import render

app = typer.Typer(no_args_is_help=True, help="Times at which a script is called unasked.")


@app.command("list", epilog=examples("waypost schedules list acme-shop"))
@online
def list_schedules(
    session: Session, name: Name, namespace: Namespace = "production", account: Account = None
) -> None:
    """List a script's schedules, and when each is due next."""
    with session.client() as client:
        answer = client.get(f"{find_path(client, account, namespace, name)}/schedules")
    session.output.result(answer, lambda: _table(answer))


@app.command(
    "set",
    epilog=examples(
        'waypost schedules set acme-shop "*/5 * * * *" "0 7 * * mon-fri"',
        "waypost schedules set acme-shop --none",
    ),
)
@online
def set_schedules(
    session: Session,
    name: Name,
    crons: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CRON]...", help="Five fields, UTC.", show_default=False),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Remove all of them.")] = False,
    namespace: Namespace = "production",
    account: Account = None,
) -> None:
    """Replace a script's schedules."""
    if bool(crons) == none:
        raise CliError("name the schedules, or none", fix="add CRON, or --none", status=2)
    with session.client() as client:
        path = f"{find_path(client, account, namespace, name)}/schedules"
        answer = client.put(path, [{"cron": cron} for cron in crons or []])
        for note in client.notes:
            session.output.warn(note)
    session.output.result(answer, lambda: _table(answer))


@app.command(
    "run",
    epilog=examples(
        "waypost schedules run acme-shop", 'waypost schedules run acme-shop --cron "0 7 * * *"'
    ),
)
@online
def run(
    session: Session,
    name: Name,
    cron: Annotated[
        str | None,
        typer.Option(help="What to call it with. Default: its only schedule.", show_default=False),
    ] = None,
    namespace: Namespace = "production",
) -> None:
    """Call a script at once, as its schedule would; fails when the call does."""
    body = {"cron": cron, "namespace": namespace}
    with session.client() as client:
        answer = client.run(f"/v1/scripts/{segment(name)}/schedules/run", body)
    session.output.result(answer, lambda: _told(answer))
    if answer.get("outcome") != "ok":
        raise typer.Exit(1)


def _table(answer: Any) -> RenderableType:
    found = answer.get("schedules") if isinstance(answer, dict) else None
    rows = [
        (item.get("cron"), moment((item.get("waypost") or {}).get("next")))
        for item in found or []
        if isinstance(item, dict)
    ]
    return table("CRON", "NEXT (UTC)", rows=rows, empty="This script has no schedules.")


def _told(answer: dict[str, Any]) -> RenderableType:
    """As the tail shows it."""
    item = {
        "event": {"cron": answer.get("cron")},
        "outcome": answer.get("outcome"),
        "cpuTime": answer.get("cpu_ms"),
        "wallTime": answer.get("wall_ms"),
        "logs": answer.get("logs"),
        "exceptions": answer.get("exceptions"),
    }
    lines: list[RenderableType] = [render(item)]
    if answer.get("outcome") == "ok":
        return Group(done("Called"), *lines)
    return Group(*lines, Text(f"code {safe(str(answer.get('code')))}", style="dim"))
