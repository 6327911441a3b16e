"""``waypost audit``: who changed what, when, from where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.listing import PAGE, items
from gateway.cli.output import table
from gateway.cli.session import Session, examples, online
from gateway.cli.text import moment


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "audit",
        epilog=examples("waypost audit", "waypost audit --tenant acme --limit 5000 --json"),
        rich_help_panel="Operate",
    )(audit)


@online
def audit(
    session: Session,
    tenant: Annotated[str, typer.Option(help="Only changes of this tenant's things.")] = "",
    actor: Annotated[str, typer.Option(help="Only what the token of this id did.")] = "",
    action: Annotated[str, typer.Option(help="Only this, such as script.deploy.")] = "",
    target: Annotated[str, typer.Option(help="Only to this: production/acme-shop.")] = "",
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 50,
) -> None:
    """Show the audit log: every change, and what a token was not allowed to change."""
    given = {"tenant": tenant, "actor": actor, "action": action, "target": target}
    query: dict[str, str | int] = {name: value for name, value in given.items() if value}
    rows: list[dict[str, Any]] = []
    with session.client() as client:
        while len(rows) < limit:
            query["limit"] = min(PAGE, limit - len(rows))
            answer = client.get("/v1/audit", query)
            rows.extend(items(answer, "entries"))
            following = answer.get("before") if isinstance(answer, dict) else None
            if not isinstance(following, int):
                break
            query["before"] = following
    session.output.result(
        rows,
        lambda: table(
            "WHEN",
            "WHO",
            "FROM",
            "WHAT",
            "TARGET",
            ">STATUS",
            rows=[
                (
                    moment(row.get("at")),
                    _who(row),
                    row.get("address", ""),
                    row.get("action", ""),
                    row.get("target", ""),
                    row.get("status", ""),
                )
                for row in rows
            ],
            empty="Nothing was changed.",
        ),
    )


def _who(row: dict[str, Any]) -> str:
    owner = row.get("actor_tenant") or "operator"
    return f"{owner} ({row.get('actor_label') or row.get('actor', '')})"
