"""``waypost tenants …``: the platform's customers."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from gateway.cli.client import segment
from gateway.cli.listing import walk
from gateway.cli.output import CliError, done, table
from gateway.cli.session import Session, examples, online

app = typer.Typer(no_args_is_help=True, help="Customers of the platform, their plan and status.")

Slug = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's slug, e.g. acme.")]
Plan = Annotated[
    str | None, typer.Option("--plan", help="Plan, as named in routing.yaml.", show_default=False)
]
DisplayName = Annotated[
    str | None, typer.Option("--name", help="Name for people.", show_default=False)
]


@app.command("list", epilog=examples("waypost tenants list", "waypost tenants list --json"))
@online
def list_tenants(
    session: Session,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 1000,
) -> None:
    """List tenants with their plan and status."""
    with session.client() as client:
        rows = walk(client, "/v1/tenants", ("tenants", "slug"), {}, limit=limit)
    session.output.result(
        rows,
        lambda: table(
            "TENANT",
            "PLAN",
            "STATUS",
            "NAME",
            rows=[
                (row.get("slug"), row.get("plan"), _status(row), row.get("name", ""))
                for row in rows
            ],
            empty="No tenants yet. Add one: waypost tenants add acme --plan pro",
        ),
    )


@app.command(
    "add", epilog=examples("waypost tenants add acme", "waypost tenants add acme --plan pro")
)
@online
def add(session: Session, tenant: Slug, plan: Plan = None, name: DisplayName = None) -> None:
    """Create a tenant, on the default plan unless told otherwise."""
    _put(session, tenant, {"plan": plan, "name": name}, "Created tenant")


@app.command("set", epilog=examples("waypost tenants set acme --plan enterprise"))
@online
def change(session: Session, tenant: Slug, plan: Plan = None, name: DisplayName = None) -> None:
    """Change a tenant's plan or name; in force for the next request."""
    if plan is None and name is None:
        raise CliError("nothing to change", fix="give --plan or --name", status=2)
    _put(session, tenant, {"plan": plan, "name": name}, "Changed tenant")


@app.command("show", epilog=examples("waypost tenants show acme"))
@online
def show(session: Session, tenant: Slug) -> None:
    """Show one tenant."""
    with session.client() as client:
        row = client.get(f"/v1/tenants/{segment(tenant)}")
    session.output.result(row, lambda: _details(row))


@app.command("suspend", epilog=examples("waypost tenants suspend acme"))
@online
def suspend(session: Session, tenant: Slug) -> None:
    """Answer 403 for everything of a tenant, from the next request on. Nothing is deleted."""
    _put(session, tenant, {"status": "suspended"}, "Suspended tenant")


@app.command("resume", epilog=examples("waypost tenants resume acme"))
@online
def resume(session: Session, tenant: Slug) -> None:
    """Serve a suspended tenant again."""
    _put(session, tenant, {"status": "active"}, "Resumed tenant")


@app.command("remove", epilog=examples("waypost tenants remove acme --yes"))
@online
def remove(
    session: Session,
    tenant: Slug,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a tenant with its scripts, hostnames and tokens."""
    if not yes:
        typer.confirm(
            f"Delete tenant {tenant} with its scripts, hostnames and tokens?", abort=True, err=True
        )
    with session.client() as client:
        client.delete(f"/v1/tenants/{segment(tenant)}")
    session.output.result(
        {"slug": tenant, "removed": True}, lambda: done(f"Removed tenant {tenant}")
    )


def _put(session: Session, tenant: str, change: dict[str, str | None], said: str) -> None:
    body = {name: value for name, value in change.items() if value is not None}
    with session.client() as client:
        row = client.put(f"/v1/tenants/{segment(tenant)}", body)
    plan = f" on plan {row['plan']}" if isinstance(row, dict) and row.get("plan") else ""
    session.output.result(row, lambda: done(f"{said} {tenant}{plan}"))


def _status(row: dict[str, Any]) -> Text:
    status = str(row.get("status", ""))
    return Text(status, style="red" if status == "suspended" else "green")


def _details(row: Any) -> RenderableType:
    pairs = list(row.items()) if isinstance(row, dict) else []
    return table("FIELD", "VALUE", rows=pairs, empty="Nothing is known of it.")
